#include "secrets/vault.h"

#include <fmt/format.h>
#include <sodium.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <sstream>

#include "common/check.h"

namespace trainyard::secrets {
namespace {

constexpr std::size_t kKeySize = crypto_aead_xchacha20poly1305_ietf_KEYBYTES;
constexpr std::size_t kNonceSize = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kTagSize = crypto_aead_xchacha20poly1305_ietf_ABYTES;
constexpr char kForm[] = "v1:";  // then the key's id, ':' and base64 of nonce and ciphertext

const unsigned char* bytes_of(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

std::string new_key_line() {
  unsigned char key[kKeySize], id[4];
  randombytes_buf(key, sizeof key);
  randombytes_buf(id, sizeof id);
  std::string line;
  for (const unsigned char byte : id) line += fmt::format("{:02x}", byte);
  line += " " + to_base64(key, sizeof key) + "\n";
  sodium_memzero(key, sizeof key);
  return line;
}

// What a value is bound to.
std::string place_of(std::string workspace, const std::string& name) {
  std::transform(workspace.begin(), workspace.end(), workspace.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return workspace + '\0' + name;
}

std::string nonce_for(const KeyBytes& key, const std::string& place, const std::string& value) {
  std::string nonce(kNonceSize, '\0');
  crypto_generichash_state state;
  crypto_generichash_init(&state, key.get(), kKeySize, kNonceSize);
  const std::string head = "nonce" + std::to_string(place.size()) + ":" + place;
  crypto_generichash_update(&state, bytes_of(head), head.size());
  crypto_generichash_update(&state, bytes_of(value), value.size());
  crypto_generichash_final(&state, bytes_of(nonce), kNonceSize);
  return nonce;
}

}  // namespace

Result<Vault> Vault::open(const std::string& key_file) {
  auto text = read_key_file(key_file, new_key_line);
  if (!text) return text.error();
  auto vault = parse(key_file, *text);
  sodium_memzero(text->data(), text->size());
  return vault;
}

Vault Vault::ephemeral() {
  start_crypto();
  return parse("ephemeral", new_key_line()).value();
}

Result<Vault> Vault::parse(const std::string& path, const std::string& text) {
  Vault vault;
  std::istringstream lines(text);
  for (std::string id, key; lines >> id;) {
    if (std::string bytes; !(lines >> key) || !from_base64(key, bytes) || bytes.size() != kKeySize) {
      return Error{Code::failed_precondition,
                   fmt::format("{} is not a key file: every line must be a key's id and {} bytes in base64. Put the "
                               "file back from its backup; without it the secrets of the jobs are lost",
                               path, kKeySize)};
    } else {
      vault.x_keys.push_back({id, new_key(kKeySize)});
      std::memcpy(vault.x_keys.back().bytes.get(), bytes.data(), kKeySize);
      sodium_memzero(bytes.data(), bytes.size());
    }
  }
  if (vault.x_keys.empty()) return Error{Code::failed_precondition, path + " has no key in it"};
  return vault;
}

SealedValue Vault::seal(const std::string& workspace, const std::string& name, const std::string& value) const {
  const Key& key = x_keys.back();
  const std::string place = place_of(workspace, name);
  std::string sealed = nonce_for(key.bytes, place, value);
  sealed.resize(kNonceSize + value.size() + kTagSize);
  unsigned long long size = 0;
  TY_CHECK(crypto_aead_xchacha20poly1305_ietf_encrypt(bytes_of(sealed) + kNonceSize, &size, bytes_of(value),
                                                      value.size(), bytes_of(place), place.size(), nullptr,
                                                      bytes_of(sealed), key.bytes.get()) == 0);
  return {name, kForm + key.id + ":" + to_base64(sealed)};
}

Result<std::string> Vault::unseal(const std::string& workspace, const SealedValue& secret) const {
  const Error damaged{Code::data_loss,
                      fmt::format("secret {} was not sealed for workspace {}, or is damaged", secret.name, workspace)};
  const auto colon = secret.sealed.find(':', sizeof kForm - 1);
  if (!secret.sealed.starts_with(kForm) || colon == std::string::npos) return damaged;
  const std::string id = secret.sealed.substr(sizeof kForm - 1, colon - (sizeof kForm - 1));
  const auto key = std::find_if(x_keys.begin(), x_keys.end(), [&](const Key& other) { return other.id == id; });
  if (key == x_keys.end()) {
    return Error{Code::failed_precondition,
                 fmt::format("the key {} of secret {} is not in the controller's key file", id, secret.name)};
  }
  std::string sealed;
  if (!from_base64(secret.sealed.substr(colon + 1), sealed) || sealed.size() < kNonceSize + kTagSize) return damaged;
  const std::string place = place_of(workspace, secret.name);
  std::string value(sealed.size() - kNonceSize - kTagSize, '\0');
  unsigned long long size = 0;
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(bytes_of(value), &size, nullptr, bytes_of(sealed) + kNonceSize,
                                                 sealed.size() - kNonceSize, bytes_of(place), place.size(),
                                                 bytes_of(sealed), key->bytes.get()) != 0) {
    return damaged;
  }
  return value;
}

}  // namespace trainyard::secrets
