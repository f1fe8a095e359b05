// The controller's vault: encrypts secrets for the database with keys that are not in it (libsodium's
// XChaCha20-Poly1305). A value is bound to the workspace and the name it was given for: a row that is copied to another
// place does not open. Nonces are derived from key and plaintext (a synthetic IV), so the same secret gives the same
// text: a create that is repeated is recognised, and no random number has to be good. Immutable after open(): any
// thread.
#pragma once

#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"
#include "secrets/key_file.h"

namespace trainyard::secrets {

class Vault {
 public:
  // The key file has one "ID BASE64" per line; the last key seals, all open. Without a file one with a new key is made
  // (0400). Back it up apart from the database: without it the secrets in there are lost.
  static Result<Vault> open(const std::string& key_file);
  // For tests: a new key, in memory only.
  static Vault ephemeral();

  // `workspace`: "group/workspace", without regard to case.
  SealedValue seal(const std::string& workspace, const std::string& name, const std::string& value) const;
  // FAILED_PRECONDITION: its key is not in the key file. DATA_LOSS: not what was sealed for that workspace and name.
  Result<std::string> unseal(const std::string& workspace, const SealedValue& secret) const;

 private:
  struct Key {
    std::string id;
    KeyBytes bytes;
  };
  static Result<Vault> parse(const std::string& path, const std::string& text);

  std::vector<Key> x_keys;
};

}  // namespace trainyard::secrets
