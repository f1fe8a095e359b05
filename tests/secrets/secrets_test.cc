// What a stolen database, another workspace, another node or another attempt can make of a secret: nothing.
#define CATCH_CONFIG_MAIN
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "secrets/node_key.h"
#include "secrets/vault.h"

using namespace trainyard;
using namespace trainyard::secrets;
using Catch::Matchers::Contains;

namespace {

struct Folder {
  Folder() {
    char name[] = "/tmp/trainyard-secrets-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return path + "/" + name; }
  std::string path;
};

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// An open file is needed to write into a read-only one.
void rewrite(const std::string& path, const std::string& text) {
  std::filesystem::remove(path);
  std::ofstream(path) << text;
  ::chmod(path.c_str(), 0400);
}

}  // namespace

TEST_CASE("a sealed value opens for its workspace and name only, and has nothing of the secret in it") {
  const Vault vault = Vault::ephemeral();
  const SealedValue secret = vault.seal("Group/Work", "TOKEN", "hunter2-canary");
  CHECK(secret.name == "TOKEN");
  CHECK(secret.sealed.find("canary") == std::string::npos);
  CHECK(vault.unseal("group/work", secret).value() == "hunter2-canary");
  CHECK(vault.unseal("group/other", secret).error().code == Code::data_loss);
  CHECK(vault.unseal("group/work", {"OTHER", secret.sealed}).error().code == Code::data_loss);
  SealedValue bent = secret;
  bent.sealed[bent.sealed.size() - 6] = bent.sealed[bent.sealed.size() - 6] == 'A' ? 'B' : 'A';
  CHECK(vault.unseal("group/work", bent).error().code == Code::data_loss);
  for (const char* nonsense : {"", "v1:", "v1:x:y", "v2:a:AAAA"}) CHECK(!vault.unseal("group/work", {"T", nonsense}));
}

TEST_CASE("the same secret gives the same text, another one another: a repeated create is recognised") {
  const Vault vault = Vault::ephemeral();
  CHECK(vault.seal("g/w", "A", "x") == vault.seal("g/w", "A", "x"));
  CHECK(vault.seal("g/w", "A", "x").sealed != vault.seal("g/w", "A", "y").sealed);
  CHECK(vault.seal("g/w", "A", "x").sealed != vault.seal("g/w", "B", "x").sealed);
  CHECK(vault.seal("g/w", "A", "x").sealed != vault.seal("g/v", "A", "x").sealed);
  CHECK(Vault::ephemeral().seal("g/w", "A", "x").sealed != vault.seal("g/w", "A", "x").sealed);
  const std::string long_value(100'000, 'z');
  CHECK(vault.unseal("g/w", vault.seal("g/w", "A", long_value)).value() == long_value);
}

TEST_CASE("the key file is made once, private, and refused when others may read it or it is damaged") {
  const Folder folder;
  const std::string path = folder / "secrets.key";
  const Vault first = Vault::open(path).value();
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0400);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);
  const SealedValue secret = first.seal("g/w", "A", "x");
  CHECK(Vault::open(path)->unseal("g/w", secret).value() == "x");

  ::chmod(path.c_str(), 0440);
  CHECK_THAT(Vault::open(path).error().message, Contains("may be read by other users"));
  const std::string good = text_of(path);
  for (const std::string& bad : {std::string("k\n"), std::string("k !!!\n"), std::string("k AAAA\n"), good + "more"}) {
    rewrite(path, bad);
    CHECK_THAT(Vault::open(path).error().message, Contains("is not a key file"));
  }
  rewrite(path, "");
  CHECK_THAT(Vault::open(path).error().message, Contains("has no key"));
}

TEST_CASE("a new last key seals, and older keys still open") {
  const Folder folder;
  const std::string path = folder / "secrets.key", other = folder / "other.key";
  const SealedValue old = Vault::open(path)->seal("g/w", "A", "x");
  (void)Vault::open(other);
  rewrite(path, text_of(path) + text_of(other));
  const Vault both = Vault::open(path).value();
  CHECK(both.unseal("g/w", old).value() == "x");
  const SealedValue fresh = both.seal("g/w", "A", "x");
  CHECK(fresh.sealed != old.sealed);
  CHECK(Vault::open(other)->unseal("g/w", fresh).value() == "x");
  CHECK_THAT(Vault::open(other)->unseal("g/w", old).error().message, Contains("is not in the controller's key file"));
}

TEST_CASE("what is sealed to a node opens there, for that attempt and name, and nowhere else") {
  const Folder folder;
  const NodeKey node = NodeKey::open(folder / "a.key").value();
  const NodeKey other = NodeKey::open(folder / "b.key").value();
  CHECK(NodeKey::open(folder / "a.key")->public_key() == node.public_key());
  const std::string purpose = purpose_of(AttemptId{JobId{7}, 2});
  const SealedValue sealed = seal_for_node(node.public_key(), purpose, "TOKEN", "canary").value();
  CHECK(sealed.sealed.find("canary") == std::string::npos);
  CHECK(node.unseal(purpose, sealed).value() == "canary");
  CHECK(node.unseal(purpose_of(AttemptId{JobId{7}, 3}), sealed).error().code == Code::data_loss);
  CHECK(node.unseal(purpose_of_setup(7), sealed).error().code == Code::data_loss);
  CHECK(node.unseal(purpose, {"OTHER", sealed.sealed}).error().code == Code::data_loss);
  CHECK(other.unseal(purpose, sealed).error().code == Code::data_loss);
  CHECK(node.unseal(purpose, {"TOKEN", "AAAA"}).error().code == Code::data_loss);
  CHECK_THAT(seal_for_node("", purpose, "TOKEN", "canary").error().message, Contains("older version"));
}
