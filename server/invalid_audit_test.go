package server_test

import (
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/signerd/signerd/gen/signerd/admin/v1"
)

// invalidAudit are questions about the log with one thing wrong.
func invalidAudit() []invalid {
	broken := &timestamppb.Timestamp{Nanos: -1}
	policy := &adminv1.Policy{}
	return []invalid{
		{"a time that is none", &adminv1.ListRecordsRequest{Since: broken}, "since"},
		{"an end that is none", &adminv1.ListRecordsRequest{Until: broken}, "until"},
		{"a caller without end", &adminv1.ListRecordsRequest{Caller: strings.Repeat("a", 2049)}, "caller"},
		{"a key without end", &adminv1.ListRecordsRequest{Key: strings.Repeat("a", 64)}, "key"},
		{"an operation without end", &adminv1.ListRecordsRequest{Operation: strings.Repeat("A", 65)}, "operation"},
		{"half a hash", &adminv1.ListRecordsRequest{HeaderSha256: make([]byte, 16)}, "header_sha256"},
		{"too many at once", &adminv1.ListRecordsRequest{Last: 10001}, "last"},
		{"no record_id", &adminv1.GetRecordRequest{}, "record_id"},
		{"a record_id that is none", &adminv1.GetRecordRequest{RecordId: "0197"}, "record_id"},
		{"a checkpoint that is none", &adminv1.VerifyLogRequest{Checkpoint: []byte("signerd/0\n1\n")}, "checkpoint"},
		{"a checkpoint without end", &adminv1.VerifyLogRequest{Checkpoint: make([]byte, 16385)}, "checkpoint"},
		{"nothing to say of a loss", &adminv1.AcknowledgeLossRequest{}, "note"},
		{"too much to say of a loss", &adminv1.AcknowledgeLossRequest{Note: strings.Repeat("a", 1025)}, "note"},
		{"no reason for a freeze", &adminv1.FreezeRequest{}, "reason"},
		{"too much reason for a freeze", &adminv1.FreezeRequest{Reason: strings.Repeat("a", 1025)}, "reason"},
		{"no document", &adminv1.ReplayPolicyRequest{Since: timestamppb.Now()}, "policy"},
		{"no beginning", &adminv1.ReplayPolicyRequest{Policy: policy}, "since"},
		{"a beginning that is none", &adminv1.ReplayPolicyRequest{Policy: policy, Since: broken}, "since"},
	}
}
