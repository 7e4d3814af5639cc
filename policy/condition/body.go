package condition

import (
	"errors"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Body is a request's body, parsed when the first condition reads it, and once. Its methods, and evaluations that it is an
// input of, must not run at the same time. A nil Body is one that nobody knows.
type Body struct {
	text     string
	readable bool
	parsed   bool
	document *document
	reason   Reason
	budget   *Budget // of the running evaluation
}

// NewBody is a body of these bytes, which are copied. No bytes are the value null. The caller bounds its size; parsed, it
// takes some six times as much memory.
func NewBody(raw []byte) *Body { return &Body{text: string(raw), readable: true} }

// HashedBody is a body of which only the hash came: no condition that reads it can be evaluated.
func HashedBody() *Body { return &Body{} }

// parse gives the reason why the body has no value, if it has none.
func (b *Body) parse() Reason {
	if b == nil || !b.readable {
		return ReasonBodyUnknown
	}
	if !b.parsed {
		b.parsed = true
		if b.text == "" {
			b.document = &document{nodes: []node{newNode(kindNull, 0, 0)}}
		} else {
			b.document, b.reason = parseDocument(b.text)
		}
	}
	return b.reason
}

// value is the value at a node.
func (b *Body) value(at int) ref.Val {
	n := b.document.nodes[at]
	b.budget.spend(1)
	switch n.kind() {
	case kindTrue:
		return types.True
	case kindFalse:
		return types.False
	case kindNumber:
		b.budget.spend((int(n.b) - n.below()) / digitsPerStep)
		return readNumber(b.document.text[n.below():n.b])
	case kindString, kindEscaped:
		b.budget.spend((int(n.b) - n.below()) / bytesPerStep)
		return types.String(b.document.stringAt(at))
	case kindArray:
		return &array{b, at}
	case kindObject:
		return &object{b, at}
	}
	return types.NullValue
}

// size is how many children a container has.
func (b *Body) size(at int) ref.Val { return types.Int(b.document.nodes[at].below()) }

var errNative = errors.New("a body has no native form")

// array is a JSON array.
type array struct {
	body *Body
	at   int
}

var _ traits.Lister = (*array)(nil)

func (*array) ConvertToNative(reflect.Type) (any, error) { return nil, errNative }
func (*array) ConvertToType(ref.Type) ref.Val            { return types.NoSuchOverloadErr() }
func (*array) Type() ref.Type                            { return types.ListType }
func (a *array) Value() any                              { return a }
func (a *array) Size() ref.Val                           { return a.body.size(a.at) }

// Add is not there: a list of the body's size would be made.
func (*array) Add(ref.Val) ref.Val { return types.NoSuchOverloadErr() }

func (a *array) Get(index ref.Val) ref.Val {
	i, err := types.IndexOrError(index)
	if err != nil {
		return types.NoSuchOverloadErr()
	}
	if i < 0 || i >= a.body.document.nodes[a.at].below() {
		return types.NewErr("index out of bounds: %d", i)
	}
	a.body.budget.spend(i / nodesPerStep)
	at := a.at + 1
	for range i {
		at = a.body.document.after(at)
	}
	return a.body.value(at)
}

func (a *array) Contains(value ref.Val) ref.Val {
	for it := a.iterate(); it.more(); {
		if types.Equal(it.value(), value) == types.True {
			return types.True
		}
	}
	return types.False
}

func (a *array) Equal(other ref.Val) ref.Val {
	list, ok := other.(traits.Lister)
	if !ok || list.Size() != a.Size() {
		return types.False
	}
	index := types.Int(0)
	for it := a.iterate(); it.more(); index++ {
		if types.Equal(it.value(), list.Get(index)) != types.True {
			return types.False
		}
	}
	return types.True
}

func (a *array) Iterator() traits.Iterator { return a.iterate() }

func (a *array) iterate() *iterator {
	return &iterator{body: a.body, at: a.at + 1, end: a.body.document.after(a.at)}
}

// object is a JSON object.
type object struct {
	body *Body
	at   int
}

var _ traits.Mapper = (*object)(nil)

func (*object) ConvertToNative(reflect.Type) (any, error) { return nil, errNative }
func (*object) ConvertToType(ref.Type) ref.Val            { return types.NoSuchOverloadErr() }
func (*object) Type() ref.Type                            { return types.MapType }
func (o *object) Value() any                              { return o }
func (o *object) Size() ref.Val                           { return o.body.size(o.at) }

func (o *object) find(key ref.Val) (at int, ok bool) {
	name, isString := key.(types.String)
	if !isString {
		return 0, false
	}
	at, looked, ok := o.body.document.member(o.at, string(name))
	o.body.budget.spend(looked / nodesPerStep)
	return at, ok
}

func (o *object) Find(key ref.Val) (ref.Val, bool) {
	at, ok := o.find(key)
	if !ok {
		return nil, false
	}
	return o.body.value(at), true
}

func (o *object) Get(key ref.Val) ref.Val {
	value, ok := o.Find(key)
	if !ok {
		return types.NewErr("no such key")
	}
	return value
}

func (o *object) Contains(key ref.Val) ref.Val {
	_, ok := o.find(key)
	return types.Bool(ok)
}

func (o *object) Equal(other ref.Val) ref.Val {
	m, ok := other.(traits.Mapper)
	if !ok || m.Size() != o.Size() {
		return types.False
	}
	for it := o.iterate(); it.more(); {
		at := it.at + 1
		want, ok := m.Find(it.value())
		if !ok || types.Equal(o.body.value(at), want) != types.True {
			return types.False
		}
	}
	return types.True
}

func (o *object) Iterator() traits.Iterator { return o.iterate() }

func (o *object) iterate() *iterator {
	return &iterator{body: o.body, at: o.at + 1, end: o.body.document.after(o.at), names: true}
}

// iterator goes over an array's values, or over an object's names.
type iterator struct {
	body    *Body
	at, end int
	names   bool
}

func (*iterator) ConvertToNative(reflect.Type) (any, error) { return nil, errNative }
func (*iterator) ConvertToType(ref.Type) ref.Val            { return types.NoSuchOverloadErr() }
func (*iterator) Equal(ref.Val) ref.Val                     { return types.False }
func (*iterator) Type() ref.Type                            { return types.IteratorType }
func (it *iterator) Value() any                             { return it }
func (it *iterator) HasNext() ref.Val                       { return types.Bool(it.more()) }
func (it *iterator) Next() ref.Val                          { return it.value() }

func (it *iterator) more() bool { return it.at < it.end }

// itemSteps is what a step to the next item costs: CEL's own count of a loop takes longer the more items there were.
const itemSteps = 6

func (it *iterator) value() ref.Val {
	it.body.budget.spend(itemSteps)
	at := it.at
	if it.names {
		it.at++
	}
	it.at = it.body.document.after(it.at)
	return it.body.value(at)
}
