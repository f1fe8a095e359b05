#include "proto/agent_convert.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <map>

#include "common/model_json.h"

namespace trainyard {
namespace {

bool alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

using SealedSecrets = google::protobuf::RepeatedPtrField<v1::SealedSecret>;

std::vector<SealedValue> secrets_from_proto(const SealedSecrets& message) {
  std::vector<SealedValue> secrets;
  for (const auto& secret : message) secrets.push_back({secret.name(), secret.sealed()});
  return secrets;
}

void to_proto(const std::vector<SealedValue>& secrets, SealedSecrets& message) {
  for (const SealedValue& secret : secrets) {
    auto& out = *message.Add();
    out.set_name(secret.name);
    out.set_sealed(secret.sealed);
  }
}

Result<HoldingOrder> order_from_proto(const v1::HoldingOrder& message) {
  HoldingOrder order;
  order.id = from_proto(message.id());
  const auto phase = holding_phase_named(message.phase());
  if (!phase) return Error{Code::invalid_argument, fmt::format("orders: unknown phase \"{}\"", message.phase())};
  order.phase = *phase;
  order.member = message.member();
  order.gpu_uuids.assign(message.gpu_uuids().begin(), message.gpu_uuids().end());
  order.lease_ms = message.lease_ms();
  order.grace_ms = message.grace_ms();
  order.notice_ms = message.notice_ms();
  if (!message.launch_json().empty()) {
    auto launch = from_json_text<Launch>(message.launch_json());
    if (!launch) return Error{Code::invalid_argument, "orders: launch: " + launch.error().message};
    if (order.member >= launch->members.size()) {
      return Error{Code::invalid_argument,
                   fmt::format("orders: member {} of a launch with {} members", order.member, launch->members.size())};
    }
    order.launch = std::make_shared<const Launch>(std::move(launch).value());
  } else if (order.phase != HoldingPhase::stop) {
    return Error{Code::invalid_argument, fmt::format("orders: phase {} without a launch", message.phase())};
  }
  order.secrets = secrets_from_proto(message.secrets());
  order.image_digest = message.image_digest();
  return order;
}

// A protobuf map has no order; names are sorted so that equal reports stay equal.
std::vector<NamedValue> details_from_proto(const google::protobuf::Map<std::string, std::string>& message) {
  std::vector<NamedValue> details;
  for (const auto& [name, value] : std::map<std::string, std::string>(message.begin(), message.end())) {
    details.push_back({name, value});
  }
  return details;
}

Result<SetupReport> setup_from_proto(const v1::SetupReport& message) {
  SetupReport setup;
  setup.run = message.run();
  const auto state = setup_state_named(message.state());
  if (!state) return Error{Code::invalid_argument, fmt::format("report: unknown set-up state \"{}\"", message.state())};
  setup.state = *state;
  setup.error = {message.error_code(), message.error_message(), details_from_proto(message.error_details()),
                 message.infrastructure()};
  return setup;
}

void to_proto(const SetupReport& setup, v1::SetupReport& message) {
  message.set_run(setup.run);
  message.set_state(name_of(setup.state));
  message.set_error_code(valid_utf8(setup.error.code));
  message.set_error_message(valid_utf8(setup.error.message));
  for (const NamedValue& detail : setup.error.details) {
    (*message.mutable_error_details())[valid_utf8(detail.name)] = valid_utf8(detail.value);
  }
  message.set_infrastructure(setup.error.infrastructure);
}

Result<FileServerReport> file_server_from_proto(const v1::FileServerReport& message) {
  const auto state = file_server_state_named(message.state());
  if (!state) {
    return Error{Code::invalid_argument, fmt::format("report: unknown file server state \"{}\"", message.state())};
  }
  return FileServerReport{message.id(),  *state, message.address(), message.export_path(), message.error_message(),
                          message.port()};
}

void to_proto(const FileServerReport& server, v1::FileServerReport& message) {
  message.set_id(server.id);
  message.set_state(name_of(server.state));
  message.set_address(valid_utf8(server.address));
  message.set_export_path(valid_utf8(server.export_path));
  message.set_error_message(valid_utf8(server.error_message));
  message.set_port(server.port);
}

}  // namespace

Status check_node_name(const std::string& name) {
  const auto allowed = [](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; };
  if (name.empty() || name.size() > 64 || !alphanumeric(name.front()) ||
      !std::all_of(name.begin(), name.end(), allowed)) {
    return Error{Code::invalid_argument,
                 fmt::format("nodeName: \"{}\" is not a node's name: use 1 to 64 letters, digits, '.', '_' and '-', a "
                             "letter or digit first",
                             name.substr(0, 100))};
  }
  return {};
}

std::string valid_utf8(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xC2 && lead < 0xE0 ? 2
                               : lead >= 0xE0 && lead < 0xF0 ? 3
                               : lead >= 0xF0 && lead < 0xF5 ? 4
                                                             : 0;
    bool good = length > 0 && at + length <= text.size();
    for (std::size_t i = 1; good && i < length; ++i) {
      const auto next = static_cast<unsigned char>(text[at + i]);
      good = next >= 0x80 && next < 0xC0;
      // Overlong forms, surrogates and code points beyond U+10FFFF.
      if (i == 1 && ((lead == 0xE0 && next < 0xA0) || (lead == 0xED && next > 0x9F) || (lead == 0xF0 && next < 0x90) ||
                     (lead == 0xF4 && next > 0x8F))) {
        good = false;
      }
    }
    if (good) {
      out.append(text, at, length);
      at += length;
    } else {
      out += '?';
      ++at;
    }
  }
  return out;
}

AttemptId from_proto(const v1::Attempt& message) {
  return {JobId{message.job()}, message.attempt()};
}

void to_proto(AttemptId id, v1::Attempt& message) {
  message.set_job(id.job.value);
  message.set_attempt(id.attempt);
}

void to_proto(const Fabric& fabric, v1::Fabric& message) {
  message.set_kind(name_of(fabric.kind));
  message.set_name(fabric.name);
  message.set_port(fabric.port);
}

void to_proto(const Finding& finding, v1::Finding& message) {
  message.set_check(finding.check);
  message.set_level(finding.level);
  message.set_message(valid_utf8(finding.message));
}

void to_proto(const Inventory& inventory, v1::Inventory& message) {
  message.set_flavour(inventory.flavour);
  message.set_pool(inventory.pool);
  message.set_address(inventory.address);
  message.set_network_cidr(inventory.network_cidr);
  message.set_cores(inventory.cores);
  message.set_memory_bytes(inventory.memory_bytes);
  message.set_agent_version(inventory.agent_version);
  message.set_sealing_key(inventory.sealing_key);
  message.set_file_server_software(inventory.file_server_software);
  for (const Gpu& gpu : inventory.gpus) {
    auto& out = *message.add_gpus();
    out.set_uuid(gpu.uuid);
    out.set_model(gpu.model);
    out.set_memory_bytes(gpu.memory_bytes);
    out.set_pretend(gpu.pretend);
    out.set_fault(valid_utf8(gpu.fault));
    out.set_pci_bus_id(gpu.pci_bus_id);
    out.set_parent_uuid(gpu.parent_uuid);
    if (gpu.numa_node >= 0) out.set_numa_node(gpu.numa_node);
    if (gpu.nvlink_island >= 0) out.set_nvlink_island(gpu.nvlink_island);
    out.set_cores(gpu.cores);
  }
  message.set_network_interface(inventory.network_interface);
  message.set_container_runtime(valid_utf8(inventory.container_runtime));
  message.set_topology(inventory.topology);
  for (const Fabric& fabric : inventory.fabrics) to_proto(fabric, *message.add_fabrics());
  for (const Finding& finding : inventory.findings) to_proto(finding, *message.add_findings());
}

Inventory from_proto(const v1::Inventory& message) {
  Inventory inventory;
  inventory.flavour = message.flavour();
  inventory.pool = message.pool();
  inventory.address = message.address();
  inventory.network_cidr = message.network_cidr();
  inventory.cores = message.cores();
  inventory.memory_bytes = message.memory_bytes();
  inventory.agent_version = message.agent_version();
  inventory.sealing_key = message.sealing_key();
  inventory.file_server_software = message.file_server_software();
  for (const auto& gpu : message.gpus()) {
    inventory.gpus.push_back({gpu.uuid(), gpu.model(), gpu.memory_bytes(), gpu.pretend(), gpu.fault(), gpu.pci_bus_id(),
                              gpu.has_numa_node() ? gpu.numa_node() : -1, gpu.parent_uuid(),
                              gpu.has_nvlink_island() ? gpu.nvlink_island() : -1, gpu.cores()});
  }
  inventory.network_interface = message.network_interface();
  inventory.container_runtime = message.container_runtime();
  inventory.topology = message.topology();
  for (const auto& fabric : message.fabrics()) {
    // A kind of a newer agent: nothing that this controller knows how to use.
    if (const auto kind = fabric_kind_named(fabric.kind())) {
      inventory.fabrics.push_back({*kind, fabric.name(), fabric.port()});
    }
  }
  for (const auto& finding : message.findings()) {
    inventory.findings.push_back({finding.check(), finding.level(), finding.message()});
  }
  return inventory;
}

void to_proto(const Progress& progress, v1::Progress& message) {
  message.set_step(progress.step);
  message.set_steps(progress.steps);
  message.set_checkpoint(progress.checkpoint);
}

void to_proto(const HoldingReport& holding, v1::HoldingReport& message) {
  to_proto(holding.id, *message.mutable_id());
  message.set_state(name_of(holding.state));
  if (holding.exit_code) message.set_exit_code(*holding.exit_code);
  message.set_error_code(valid_utf8(holding.error.code));
  message.set_error_message(valid_utf8(holding.error.message));
  for (const NamedValue& detail : holding.error.details) {
    (*message.mutable_error_details())[valid_utf8(detail.name)] = valid_utf8(detail.value);
  }
  message.set_infrastructure(holding.error.infrastructure);
  message.set_processes_killed(holding.receipt.processes_killed);
  message.set_mounts_removed(holding.receipt.mounts_removed);
  message.set_directories_removed(holding.receipt.directories_removed);
  message.set_cleanup_ms(holding.receipt.took_ms);
  for (const CleanupPart& part : holding.receipt.parts) {
    auto& out = *message.add_cleanup_parts();
    out.set_what(part.what);
    out.set_count(part.count);
    *out.mutable_took() = google::protobuf::util::TimeUtil::MillisecondsToDuration(part.took_ms);
  }
  message.set_image_digest(valid_utf8(holding.image_digest));
  message.set_stuck(valid_utf8(holding.stuck));
  if (holding.progress) to_proto(*holding.progress, *message.mutable_progress());
}

Result<HoldingReport> from_proto(const v1::HoldingReport& message) {
  HoldingReport holding;
  holding.id = from_proto(message.id());
  const auto state = holding_state_named(message.state());
  if (!state) {
    return Error{Code::invalid_argument, fmt::format("report: unknown holding state \"{}\"", message.state())};
  }
  holding.state = *state;
  if (message.has_exit_code()) holding.exit_code = message.exit_code();
  holding.error.code = message.error_code();
  holding.error.message = message.error_message();
  holding.error.details = details_from_proto(message.error_details());
  holding.error.infrastructure = message.infrastructure();
  holding.receipt.processes_killed = message.processes_killed();
  holding.receipt.mounts_removed = message.mounts_removed();
  holding.receipt.directories_removed = message.directories_removed();
  holding.receipt.took_ms = message.cleanup_ms();
  for (const auto& part : message.cleanup_parts()) {
    holding.receipt.parts.push_back(
        {part.what(), part.count(), google::protobuf::util::TimeUtil::DurationToMilliseconds(part.took())});
  }
  holding.image_digest = message.image_digest();
  holding.stuck = message.stuck();
  if (message.has_progress()) {
    const auto& progress = message.progress();
    holding.progress = Progress{progress.step(), progress.steps(), progress.checkpoint()};
  }
  return holding;
}

void to_proto(const Report& report, v1::Report& message) {
  message.set_node_name(report.node_name);
  message.set_store_generation(report.store_generation);
  message.set_epoch(report.epoch);
  message.set_orders_revision(report.orders_revision);
  message.set_sequence(report.sequence);
  to_proto(report.inventory, *message.mutable_inventory());
  for (const HoldingReport& holding : report.holdings) to_proto(holding, *message.add_holdings());
  if (report.setup) to_proto(*report.setup, *message.mutable_setup());
  for (const FileServerReport& server : report.file_servers) to_proto(server, *message.add_file_servers());
}

Result<Report> from_proto(const v1::Report& message) {
  if (const Status name = check_node_name(message.node_name()); !name) return name.error();
  if (message.epoch().empty()) return Error{Code::invalid_argument, "report: epoch is missing"};
  Report report;
  report.node_name = message.node_name();
  report.store_generation = message.store_generation();
  report.epoch = message.epoch();
  report.orders_revision = message.orders_revision();
  report.sequence = message.sequence();
  report.inventory = from_proto(message.inventory());
  for (const auto& item : message.holdings()) {
    auto holding = from_proto(item);
    if (!holding) return holding.error();
    if (holding->state == HoldingState::clean) holding->receipt.node_name = report.node_name;
    report.holdings.push_back(std::move(holding).value());
  }
  if (message.has_setup()) {
    auto setup = setup_from_proto(message.setup());
    if (!setup) return setup.error();
    report.setup = std::move(setup).value();
  }
  for (const auto& item : message.file_servers()) {
    auto server = file_server_from_proto(item);
    if (!server) return server.error();
    report.file_servers.push_back(std::move(server).value());
  }
  return report;
}

void to_proto(const Orders& orders, v1::Orders& message) {
  message.set_store_generation(orders.store_generation);
  message.set_node_epoch(orders.node_epoch);
  message.set_revision(orders.revision);
  message.set_cluster(orders.cluster);
  for (const HoldingOrder& order : orders.holdings) {
    auto& out = *message.add_holdings();
    to_proto(order.id, *out.mutable_id());
    out.set_phase(name_of(order.phase));
    out.set_member(order.member);
    for (const std::string& uuid : order.gpu_uuids) out.add_gpu_uuids(uuid);
    out.set_lease_ms(order.lease_ms);
    out.set_grace_ms(order.grace_ms);
    out.set_notice_ms(order.notice_ms);
    if (order.launch) out.set_launch_json(to_json_text(*order.launch));
    to_proto(order.secrets, *out.mutable_secrets());
    out.set_image_digest(order.image_digest);
  }
  if (orders.setup) {
    message.mutable_setup()->set_run(orders.setup->run);
    message.mutable_setup()->set_setup_json(to_json_text(*orders.setup->setup));
    to_proto(orders.setup->secrets, *message.mutable_setup()->mutable_secrets());
  }
  for (const FileServerOrder& order : orders.file_servers) {
    auto& out = *message.add_file_servers();
    out.set_id(order.id);
    out.set_name(order.name);
    out.set_capacity_bytes(order.capacity_bytes);
    out.set_remove(order.remove);
  }
}

Result<Orders> from_proto(const v1::Orders& message) {
  Orders orders;
  orders.store_generation = message.store_generation();
  orders.node_epoch = message.node_epoch();
  orders.revision = message.revision();
  orders.cluster = message.cluster();
  for (const auto& item : message.holdings()) {
    auto order = order_from_proto(item);
    if (!order) return order.error();
    orders.holdings.push_back(std::move(order).value());
  }
  if (message.has_setup()) {
    auto setup = from_json_text<ClusterSetup>(message.setup().setup_json());
    if (!setup) return Error{Code::invalid_argument, "orders: set-up: " + setup.error().message};
    orders.setup = SetupOrder{message.setup().run(), std::make_shared<const ClusterSetup>(std::move(setup).value()),
                              secrets_from_proto(message.setup().secrets())};
  }
  for (const auto& item : message.file_servers()) {
    orders.file_servers.push_back({item.id(), item.name(), item.capacity_bytes(), item.remove()});
  }
  return orders;
}

}  // namespace trainyard
