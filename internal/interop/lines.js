'use strict';

// Reads all of standard input and writes handle(line), which is one line, for each of its lines. Inputs may hold
// secrets and JavaScript's own messages quote them, so an error is told by its class and its line's number alone.
module.exports = async function lines(handle) {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const input = Buffer.concat(chunks).toString('utf8').split('\n');
  if (input.pop() !== '') return fail('the last line of the input has no end');
  const output = [];
  for (const [index, line] of input.entries()) {
    try {
      output.push(handle(line) + '\n');
    } catch (error) {
      return fail(`line ${index + 1}: ${error.constructor.name}`);
    }
  }
  process.stdout.write(output.join(''));
};

function fail(reason) {
  process.stderr.write(reason + '\n');
  process.exitCode = 1;
}
