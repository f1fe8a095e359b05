// Secrets at the edge: sealed before the core sees them, opened and sealed anew to a node's key when its orders leave.
// Nowhere else in the controller is a secret in clear. Any thread.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <string>
#include <vector>

#include "common/model.h"
#include "secrets/vault.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::controller {

using Variables = google::protobuf::RepeatedPtrField<v1::NamedValue>;

// Gives `sealed` (checked, in the order of `clear`) their values. `workspace`: "group/workspace".
void seal_values(const secrets::Vault& vault, const std::string& workspace, const Variables& clear,
                 std::vector<SealedValue>& sealed);

// Puts sealed texts in the place of values: what remains may be kept (in a request's fingerprint).
void redact(const secrets::Vault& vault, const std::string& workspace, Variables& values);

// What cannot be opened, or sealed to `node_key` (base64), goes out empty, and the node says so; the log says why.
void seal_to_node(const secrets::Vault& vault, const std::string& node_key, Orders& orders);

}  // namespace trainyard::controller
