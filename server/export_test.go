package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
	signerdv1 "github.com/signerd/signerd/gen/signerd/v1"
)

// RPC is one RPC as the proto files declare it.
type RPC struct {
	protoreflect.MethodDescriptor
	// Path is what gRPC calls it.
	Path string
}

// KeyField is the request's field that names a key, "" if it has none.
func (r RPC) KeyField() string {
	if r.IsStreamingServer() {
		return "" // a key's name only says which records are wanted
	}
	for _, name := range []protoreflect.Name{"key", "name"} {
		if f := r.Input().Fields().ByName(name); f != nil && f.Kind() == protoreflect.StringKind {
			return string(name)
		}
	}
	return ""
}

// Admin reports whether only operators may reach it.
func (r RPC) Admin() bool { return r.ParentFile().Package() == "signerd.admin.v1" }

// Messages makes an empty request and an empty response.
func (r RPC) Messages() (in, out proto.Message) {
	return newMessage(r.Input()), newMessage(r.Output())
}

func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err)
	}
	return t.New().Interface()
}

// RPCs lists every RPC in gen/.
func RPCs() []RPC {
	var out []RPC
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "signerd.") {
			return true
		}
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				out = append(out, RPC{m, fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())})
			}
		}
		return true
	})
	return out
}

// Invoke serves a request as grpc.Server does, without a connection.
func (s *Server) Invoke(ctx context.Context, path string, in proto.Message) (any, error) {
	for _, desc := range services {
		for _, m := range desc.Methods {
			if "/"+desc.ServiceName+"/"+m.MethodName == path {
				return m.Handler(s.implementation(desc.ServiceName), ctx, func(v any) error {
					proto.Merge(v.(proto.Message), in)
					return nil
				}, s.unary)
			}
		}
	}
	return nil, fmt.Errorf("no RPC %s", path)
}

func (s *Server) implementation(service string) any {
	switch service {
	case signerdv1.SignerService_ServiceDesc.ServiceName:
		return &signerService{Server: s}
	case adminv1.KeyService_ServiceDesc.ServiceName:
		return &keyService{Server: s}
	case adminv1.PolicyService_ServiceDesc.ServiceName:
		return &policyService{Server: s}
	case adminv1.AuditService_ServiceDesc.ServiceName:
		return &auditService{Server: s}
	}
	return &systemService{Server: s}
}

// unary is the chain of newGRPC.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	chain := []grpc.UnaryServerInterceptor{recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(s.panickedOutside)), s.openCall,
		recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(panicked)), s.validate}
	for i := len(chain) - 1; i >= 0; i-- {
		next := handler
		handler = func(ctx context.Context, req any) (any, error) { return chain[i](ctx, req, info, next) }
	}
	return handler(ctx, req)
}

// OperationsOnKeys lists the operations that name a key.
func OperationsOnKeys() []string {
	var out []string
	for _, p := range permissions {
		if p.scope == onKey {
			out = append(out, string(p.operation))
		}
	}
	return out
}

// DestroyDue looks once for what is due.
func (s *Server) DestroyDue(ctx context.Context) { s.destroyDue(ctx) }
