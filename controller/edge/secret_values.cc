#include "controller/edge/secret_values.h"

#include <sodium.h>
#include <spdlog/spdlog.h>

#include "secrets/node_key.h"

namespace trainyard::controller {
namespace {

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

void seal_values(const secrets::Vault& vault, const std::string& workspace, const Variables& clear,
                 std::vector<SealedValue>& sealed) {
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    sealed[i] = vault.seal(workspace, sealed[i].name, clear[static_cast<int>(i)].value());
  }
}

void redact(const secrets::Vault& vault, const std::string& workspace, Variables& values) {
  for (v1::NamedValue& value : values) {
    value.set_value(vault.seal(workspace, value.name(), value.value()).sealed);
  }
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
