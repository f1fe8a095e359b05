// Secrets at the edge: sealed before the core sees them, opened and sealed anew to a node's key when its orders leave.
// Nowhere else in the controller is a secret in clear. Any thread.
#pragma once

#include <string>

#include "common/model.h"
#include "secrets/vault.h"
#include "trainyard/v1/clusters.pb.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::controller {

// Secrets, keys of mounts' accounts, the registry's password: does the message have any?
bool has_secrets(const v1::JobSpec& message);
bool has_secrets(const v1::NodeSetup& message);

// Puts the sealed values of `clear` into what was checked and converted from it. `workspace`: "group/workspace".
void seal(const secrets::Vault& vault, const std::string& workspace, const v1::JobSpec& clear, JobSpec& spec);
void seal(const secrets::Vault& vault, const std::string& workspace, const v1::NodeSetup& clear, NodeSetup& setup);

// Puts sealed texts in the place of values: what remains may be kept (in a request's fingerprint).
void redact(const secrets::Vault& vault, const std::string& workspace, v1::JobSpec& message);
void redact(const secrets::Vault& vault, const std::string& workspace, v1::NodeSetup& message);

// What the vault has, sealed to a node for one file call.
Result<SealedValue> seal_for_call(const secrets::Vault& vault, const std::string& node_key,
                                  const std::string& workspace, const std::string& call_id, const SealedValue& value);

// What cannot be opened, or sealed to `node_key` (base64), goes out empty, and the node says so; the log says why.
void seal_to_node(const secrets::Vault& vault, const std::string& node_key, Orders& orders);

}  // namespace trainyard::controller
