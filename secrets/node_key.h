// Secrets on their way to a node: sealed to the key of that agent (libsodium's crypto_box_seal, X25519), for one
// attempt or one run of a set-up. The private key is made anew with every boot and lies in memory (run_dir), so what
// the agent spools on disk opens nowhere else and never again. Any thread.
#pragma once

#include <cstdint>
#include <string>

#include "common/ids.h"
#include "common/model.h"
#include "common/result.h"
#include "secrets/key_file.h"

namespace trainyard::secrets {

// What a sealed value may be used for.
std::string purpose_of(AttemptId id);
std::string purpose_of_setup(std::uint64_t run);
std::string purpose_of_file_call(const std::string& call_id);

// `public_key`: base64, as in an Inventory. INVALID_ARGUMENT: not such a key.
Result<SealedValue> seal_for_node(const std::string& public_key, const std::string& purpose, const std::string& name,
                                  const std::string& value);

class NodeKey {
 public:
  // Reads the key pair; without a file one with a new pair is made (0400).
  static Result<NodeKey> open(const std::string& file);

  const std::string& public_key() const { return x_public; }  // base64
  // DATA_LOSS: not sealed to this key, or for something else.
  Result<std::string> unseal(const std::string& purpose, const SealedValue& secret) const;

 private:
  std::string x_public;
  KeyBytes x_secret;
};

}  // namespace trainyard::secrets
