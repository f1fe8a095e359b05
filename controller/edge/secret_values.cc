#include "controller/edge/secret_values.h"

#include <sodium.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "secrets/node_key.h"

namespace trainyard::controller {
namespace {

using Variables = google::protobuf::RepeatedPtrField<v1::NamedValue>;

// Gives `sealed` (checked, in the order of `clear`) their values.
void seal_values(const secrets::Vault& vault, const std::string& workspace, const Variables& clear,
                 std::vector<SealedValue>& sealed) {
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    sealed[i] = vault.seal(workspace, sealed[i].name, clear[static_cast<int>(i)].value());
  }
}

std::string name_of_key(const std::string& relative_mount_path) {
  return "mount:" + relative_mount_path;
}

// Where keys and passwords stand in a message: `name` is what they are sealed for.
struct Credential {
  std::string name;
  std::string* clear;
};

template <class Owner>
std::vector<Credential> keys_of_mounts(Owner& message) {
  std::vector<Credential> keys;
  for (auto& share : *message.mutable_azure_file_shares()) {
    if (!share.account_key().empty()) {
      keys.push_back({name_of_key(share.relative_mount_path()), share.mutable_account_key()});
    }
  }
  for (auto& container : *message.mutable_azure_blob_file_systems()) {
    if (!container.account_key().empty()) {
      keys.push_back({name_of_key(container.relative_mount_path()), container.mutable_account_key()});
    }
  }
  return keys;
}

// The paths of mounts are taken from what was checked and made plain: the agent looks keys up by those.
template <class Owner, class Spec>
void seal_keys(const secrets::Vault& vault, const std::string& workspace, const Owner& message, Spec& spec) {
  const auto seal = [&](const std::string& path, const std::string& key) {
    if (!key.empty()) spec.credentials.push_back(vault.seal(workspace, name_of_key(path), key));
  };
  for (std::size_t i = 0; i < spec.file_shares.size(); ++i) {
    seal(spec.file_shares[i].relative_mount_path, message.azure_file_shares(static_cast<int>(i)).account_key());
  }
  for (std::size_t i = 0; i < spec.blob_file_systems.size(); ++i) {
    seal(spec.blob_file_systems[i].relative_mount_path,
         message.azure_blob_file_systems(static_cast<int>(i)).account_key());
  }
}

void redact(const secrets::Vault& vault, const std::string& workspace, Variables& secrets,
            const std::vector<Credential>& credentials) {
  for (v1::NamedValue& value : secrets) {
    value.set_value(vault.seal(workspace, value.name(), value.value()).sealed);
  }
  for (const Credential& credential : credentials) {
    *credential.clear = vault.seal(workspace, credential.name, *credential.clear).sealed;
  }
}

template <class Owner>
bool has_keys(const Owner& message) {
  const auto has_key = [](const auto& mount) { return !mount.account_key().empty(); };
  return std::any_of(message.azure_file_shares().begin(), message.azure_file_shares().end(), has_key) ||
         std::any_of(message.azure_blob_file_systems().begin(), message.azure_blob_file_systems().end(), has_key);
}

void seal_again(const secrets::Vault& vault, const std::string& node_key, const std::string& workspace,
                const std::string& purpose, std::vector<SealedValue>& values) {
  for (SealedValue& secret : values) {
    auto clear = vault.unseal(workspace, secret);
    if (!clear) {
      spdlog::error("{} of {}: {}", purpose, workspace, clear.error().message);
      secret.sealed.clear();
      continue;
    }
    auto sealed = secrets::seal_for_node(node_key, purpose, secret.name, *clear);
    sodium_memzero(clear->data(), clear->size());
    if (!sealed) spdlog::error("{} of {}: secret {}: {}", purpose, workspace, secret.name, sealed.error().message);
    secret.sealed = sealed ? std::move(sealed->sealed) : std::string();
  }
}

}  // namespace

bool has_secrets(const v1::JobSpec& message) {
  return !message.secrets().empty() || !message.image_password().empty() || has_keys(message);
}

bool has_secrets(const v1::NodeSetup& message) {
  return !message.setup_task().secrets().empty() || has_keys(message);
}

void seal(const secrets::Vault& vault, const std::string& workspace, const v1::JobSpec& clear, JobSpec& spec) {
  seal_values(vault, workspace, clear.secrets(), spec.secrets);
  seal_keys(vault, workspace, clear, spec);
  if (!clear.image_password().empty()) {
    spec.credentials.push_back(vault.seal(workspace, kRegistryCredential, clear.image_password()));
  }
}

void seal(const secrets::Vault& vault, const std::string& workspace, const v1::NodeSetup& clear, NodeSetup& setup) {
  seal_values(vault, workspace, clear.setup_task().secrets(), setup.task.secrets);
  seal_keys(vault, workspace, clear, setup);
}

void redact(const secrets::Vault& vault, const std::string& workspace, v1::JobSpec& message) {
  auto credentials = keys_of_mounts(message);
  if (!message.image_password().empty()) {
    credentials.push_back({kRegistryCredential, message.mutable_image_password()});
  }
  redact(vault, workspace, *message.mutable_secrets(), credentials);
}

void redact(const secrets::Vault& vault, const std::string& workspace, v1::NodeSetup& message) {
  const auto keys = keys_of_mounts(message);
  // Naming a task's secrets would make a task.
  Variables none;
  redact(vault, workspace, message.has_setup_task() ? *message.mutable_setup_task()->mutable_secrets() : none, keys);
}

Result<SealedValue> seal_for_call(const secrets::Vault& vault, const std::string& node_key,
                                  const std::string& workspace, const std::string& call_id, const SealedValue& value) {
  auto clear = vault.unseal(workspace, value);
  if (!clear) return clear.error();
  auto sealed = secrets::seal_for_node(node_key, secrets::purpose_of_file_call(call_id), value.name, *clear);
  sodium_memzero(clear->data(), clear->size());
  return sealed;
}

void seal_to_node(const secrets::Vault& vault, const std::string& node_key, Orders& orders) {
  for (HoldingOrder& order : orders.holdings) {
    if (order.secrets.empty() || !order.launch) continue;
    seal_again(vault, node_key, order.launch->group + "/" + order.launch->workspace, secrets::purpose_of(order.id),
               order.secrets);
  }
  if (orders.setup && !orders.setup->secrets.empty()) {
    const std::string& cluster = orders.setup->setup->cluster;
    seal_again(vault, node_key, cluster.substr(0, cluster.rfind('/')), secrets::purpose_of_setup(orders.setup->run),
               orders.setup->secrets);
  }
}

}  // namespace trainyard::controller
