#include "secrets/node_key.h"

#include <fmt/format.h>
#include <sodium.h>

#include <cstring>

#include "common/check.h"

namespace trainyard::secrets {
namespace {

constexpr std::size_t kPublicSize = crypto_box_PUBLICKEYBYTES;
constexpr std::size_t kSecretSize = crypto_box_SECRETKEYBYTES;

const unsigned char* bytes_of(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

std::string head_of(const std::string& purpose, const std::string& name) {
  return purpose + '\0' + name + '\0';
}

std::string new_secret_key() {
  unsigned char open[kPublicSize], secret[kSecretSize];
  crypto_box_keypair(open, secret);
  const std::string text = to_base64(secret, sizeof secret) + "\n";
  sodium_memzero(secret, sizeof secret);
  return text;
}

}  // namespace

std::string purpose_of(AttemptId id) {
  return fmt::format("job {} attempt {}", id.job.value, id.attempt);
}
std::string purpose_of_setup(std::uint64_t run) {
  return fmt::format("set-up {}", run);
}

std::string purpose_of_file_call(const std::string& call_id) {
  return "file call " + call_id;
}

Result<SealedValue> seal_for_node(const std::string& public_key, const std::string& purpose, const std::string& name,
                                  const std::string& value) {
  start_crypto();
  std::string key;
  if (!from_base64(public_key, key) || key.size() != kPublicSize) {
    return Error{Code::invalid_argument,
                 "the node has no key to which secrets could be sealed: is its agent of an "
                 "older version?"};
  }
  std::string text = head_of(purpose, name) + value;
  std::string sealed(text.size() + crypto_box_SEALBYTES, '\0');
  TY_CHECK(crypto_box_seal(bytes_of(sealed), bytes_of(text), text.size(), bytes_of(key)) == 0);
  sodium_memzero(text.data(), text.size());
  return SealedValue{name, to_base64(sealed)};
}

Result<NodeKey> NodeKey::open(const std::string& file) {
  auto text = read_key_file(file, new_secret_key);
  if (!text) return text.error();
  while (!text->empty() && text->back() == '\n') text->pop_back();
  std::string bytes;
  const bool good = from_base64(*text, bytes) && bytes.size() == kSecretSize;
  sodium_memzero(text->data(), text->size());
  if (!good) return Error{Code::failed_precondition, file + " is not a key file; remove it and start the agent again"};
  NodeKey key;
  key.x_secret = new_key(kSecretSize);
  std::memcpy(key.x_secret.get(), bytes.data(), kSecretSize);
  sodium_memzero(bytes.data(), bytes.size());
  unsigned char open[kPublicSize];
  TY_CHECK(crypto_scalarmult_base(open, key.x_secret.get()) == 0);
  key.x_public = to_base64(open, sizeof open);
  return key;
}

Result<std::string> NodeKey::unseal(const std::string& purpose, const SealedValue& secret) const {
  const Error wrong{Code::data_loss,
                    fmt::format("secret {} was not sealed to this node's key for {}", secret.name, purpose)};
  std::string sealed, open;
  if (!from_base64(secret.sealed, sealed) || sealed.size() < crypto_box_SEALBYTES || !from_base64(x_public, open)) {
    return wrong;
  }
  std::string text(sealed.size() - crypto_box_SEALBYTES, '\0');
  if (crypto_box_seal_open(bytes_of(text), bytes_of(sealed), sealed.size(), bytes_of(open), x_secret.get()) != 0) {
    return wrong;
  }
  const std::string head = head_of(purpose, secret.name);
  if (!text.starts_with(head)) return wrong;
  std::string value = text.substr(head.size());
  sodium_memzero(text.data(), text.size());
  return value;
}

}  // namespace trainyard::secrets
