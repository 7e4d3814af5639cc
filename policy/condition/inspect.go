package condition

import (
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// findings is what a condition's syntax tree says of it.
type findings struct {
	reads      Reads
	loops      bool
	operations int
	patterns   map[string]pattern
}

// objects are the names that are no values by themselves, with their fields.
var objects = map[string][]string{
	"request": {"method", "path", "query"},
	"key":     {"name", "scheme", "environment", "labels"},
}

// absent says of what CEL has and conditions do not, what to write instead.
var absent = map[string]string{
	operators.Divide:            "there is no division: multiply the other side",
	operators.Modulo:            "there is no division, and no remainder",
	overloads.TypeConvertDouble: "there are no doubles, which are not exact: write decimal(…)",
	overloads.TypeConvertInt:    "there is no int(): write decimal(…)",
	overloads.TypeConvertUint:   "there are no unsigned integers: write decimal(…)",
	overloads.TypeConvertString: "there is no string()",
	overloads.TypeConvertBytes:  "there are no bytes",
	overloads.TypeConvertType:   "there is no type()",
	overloads.TypeConvertDyn:    "there is no dyn()",
	overloads.TypeConvertBool:   "there is no bool(): write == true",
	overloads.DeprecatedIn:      "there is no in(): write the operator",
	operators.OldIn:             "there is no _in_(): write the operator",
}

// fixedOffset is a time zone that needs no table of the machine's.
var fixedOffset = regexp.MustCompile(`\A(UTC|[+-]?([01]\d|2[0-3]):[0-5]\d)\z`)

type inspector struct {
	findings
	source  []rune
	info    *ast.SourceInfo
	locals  []string
	labels  map[string]struct{}
	problem *Error
}

// inspect walks the tree before types are checked: CEL would accept doubles, or report a misspelled field as an unknown
// `request`.
func inspect(tree *ast.AST, source string) (*findings, error) {
	in := &inspector{
		findings: findings{patterns: make(map[string]pattern)},
		source:   []rune(source),
		info:     tree.SourceInfo(),
		labels:   make(map[string]struct{}),
	}
	in.expression(tree.Expr())
	if in.problem != nil {
		return nil, in.problem
	}
	in.reads.Labels = slices.Sorted(maps.Keys(in.labels))
	return &in.findings, nil
}

// refuse keeps the first problem, as a reader would find it.
func (in *inspector) refuse(id int64, problem string) {
	in.refuseAt(in.info.GetStartLocation(id).Line(), in.info.GetStartLocation(id).Column(), problem)
}

func (in *inspector) refuseAt(line, column int, problem string) {
	line, column = max(line, 1), max(column, 0)+1
	if p := in.problem; p == nil || line < p.Line || line == p.Line && column < p.Column {
		in.problem = &Error{line, column, problem}
	}
}

// refuseField is refuse for the field of a select, whose own place is the dot.
func (in *inspector) refuseField(id int64, problem string) {
	place, ok := in.info.GetOffsetRange(id)
	at := int(place.Start)
	if !ok || at >= len(in.source) || in.source[at] != '.' {
		in.refuse(id, problem)
		return
	}
	for at++; at < len(in.source) && strings.ContainsRune(" \t\r\n", in.source[at]); {
		at++
	}
	location := in.info.GetLocationByOffset(int32(at))
	in.refuseAt(location.Line(), location.Column(), problem)
}

func (in *inspector) expression(e ast.Expr) {
	in.operations++
	switch e.Kind() {
	case ast.LiteralKind:
		in.literal(e)
	case ast.IdentKind:
		in.ident(e)
	case ast.SelectKind:
		in.selection(e)
	case ast.CallKind:
		in.call(e)
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			in.expression(element)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			in.entry(entry.AsMapEntry())
		}
	case ast.ComprehensionKind:
		in.comprehension(e.AsComprehension(), e.ID())
	default:
		in.refuse(e.ID(), "there are no messages")
	}
}

func (in *inspector) literal(e ast.Expr) {
	switch value := e.AsLiteral().(type) {
	case types.Double:
		in.refuse(e.ID(), `a number with a point or an exponent is not exact here: write decimal("`+strconv.FormatFloat(float64(value), 'f', -1, 64)+`")`)
	case types.Uint:
		in.refuse(e.ID(), "there are no unsigned integers: leave out the u")
	case types.Bytes:
		in.refuse(e.ID(), "there are no bytes: leave out the b")
	}
}

func (in *inspector) ident(e ast.Expr) {
	name := e.AsIdent()
	switch {
	case slices.Contains(in.locals, name):
	case name == "body":
		in.reads.Body = true
	case name == "caller":
		in.reads.Caller = true
	case name == "now":
		in.reads.Now = true
	case objects[name] != nil:
		in.refuse(e.ID(), name+" is no value by itself; its fields are "+strings.Join(objects[name], ", "))
	default:
		in.refuse(e.ID(), name+" is not known; a condition reads request, body, caller, key and now")
	}
}

// field gives the field of a select on request or key.
func (in *inspector) field(e ast.Expr) (object, name string, ok bool) {
	if e.Kind() != ast.SelectKind || e.AsSelect().Operand().Kind() != ast.IdentKind {
		return "", "", false
	}
	object = e.AsSelect().Operand().AsIdent()
	if objects[object] == nil || slices.Contains(in.locals, object) {
		return "", "", false
	}
	return object, e.AsSelect().FieldName(), true
}

func (in *inspector) isLabels(e ast.Expr) bool {
	object, name, ok := in.field(e)
	return ok && object == "key" && name == "labels" && !e.AsSelect().IsTestOnly()
}

func (in *inspector) selection(e ast.Expr) {
	selected := e.AsSelect()
	object, name, ok := in.field(e)
	switch {
	case !ok && in.isLabels(selected.Operand()):
		in.labels[selected.FieldName()] = struct{}{}
		return
	case !ok:
		in.expression(selected.Operand())
		return
	case selected.IsTestOnly():
		in.refuse(e.ID(), "has() is for what may be missing: fields of body, request.query and key.labels")
		return
	}
	switch object + "." + name {
	case "request.method":
		in.reads.Method = true
	case "request.path":
		in.reads.Path = true
	case "request.query":
		in.reads.Query = true
	case "key.name", "key.scheme", "key.environment":
		in.reads.Key = true
	case "key.labels":
		in.reads.AllLabels = true
	default:
		in.refuseField(e.ID(), object+" has no field "+name+"; it has "+strings.Join(objects[object], ", "))
	}
}

// text gives a literal text.
func text(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

func (in *inspector) call(e ast.Expr) {
	call := e.AsCall()
	args := call.Args()
	name := call.FunctionName()
	if problem, ok := absent[name]; ok {
		in.refuse(e.ID(), problem)
	}
	switch {
	case name == operators.Index && len(args) == 2 && in.isLabels(args[0]):
		if label, ok := text(args[1]); ok {
			in.labels[label] = struct{}{}
			return
		}
	case name == operators.In && len(args) == 2 && in.isLabels(args[1]):
		if label, ok := text(args[0]); ok {
			in.labels[label] = struct{}{}
			return
		}
	case name == overloads.Matches && len(args) == 1:
		in.pattern(args[0])
	case name == decimalFunction && len(args) == 1:
		if s, ok := text(args[0]); ok {
			if _, err := parseDecimal(s); err != nil {
				in.refuse(args[0].ID(), err.Error())
			}
		}
	case call.IsMemberFunction() && strings.HasPrefix(name, "get") && len(args) == 1:
		if zone, ok := text(args[0]); !ok || !fixedOffset.MatchString(zone) {
			in.refuse(args[0].ID(), `a time zone is a literal "UTC" or an offset such as "+02:00": names depend on the machine`)
		}
	}
	if call.IsMemberFunction() {
		in.expression(call.Target())
	}
	for _, arg := range args {
		in.expression(arg)
	}
}

func (in *inspector) pattern(e ast.Expr) {
	source, ok := text(e)
	if !ok {
		in.refuse(e.ID(), "the pattern of matches is a literal text")
		return
	}
	expression, err := regexp.Compile(source)
	if err != nil {
		in.refuse(e.ID(), err.Error())
		return
	}
	size := programSize(source)
	if size > maxProgram {
		in.refuse(e.ID(), "the pattern is too large, with what it repeats written out")
		return
	}
	in.patterns[source] = pattern{expression, size}
}

// programSize is how many instructions a valid pattern becomes. CEL's own RegexProgramSize panics at counted repetitions.
func programSize(source string) int {
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return maxProgram + 1
	}
	program, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return maxProgram + 1
	}
	return len(program.Inst)
}

// entry wants a literal text for a key: lookups compare other keys by their form inside.
func (in *inspector) entry(entry ast.MapEntry) {
	if _, ok := text(entry.Key()); !ok {
		in.refuse(entry.Key().ID(), "a name in a map is a literal text")
	}
	in.expression(entry.Value())
}

func (in *inspector) comprehension(c ast.ComprehensionExpr, id int64) {
	in.loops = true
	in.expression(c.IterRange())
	if name := c.IterVar(); objects[name] != nil || slices.Contains([]string{"body", "caller", "now"}, name) {
		in.refuse(id, name+" is what a condition reads; name the elements otherwise")
	}
	in.locals = append(in.locals, c.IterVar(), c.AccuVar())
	for _, part := range []ast.Expr{c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
		in.expression(part)
	}
	in.locals = in.locals[:len(in.locals)-2]
}
