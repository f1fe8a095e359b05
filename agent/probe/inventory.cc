#include "agent/probe/inventory.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>

#include "agent/probe/first_line.h"

namespace trainyard::agent {
namespace {

struct InterfaceAddress {
  std::string interface, address, network_cidr;
};

// Host bits cleared: 10.77.0.11 with mask 255.255.0.0 -> "10.77.0.0/16". Works on both families' byte arrays.
template <std::size_t size>
std::string network_of(std::array<unsigned char, size> address, const std::array<unsigned char, size>& mask,
                       int family) {
  int bits = 0;
  for (std::size_t i = 0; i < size; ++i) {
    address[i] &= mask[i];
    bits += __builtin_popcount(mask[i]);
  }
  char text[INET6_ADDRSTRLEN];
  if (::inet_ntop(family, address.data(), text, sizeof text) == nullptr) return {};
  return fmt::format("{}/{}", text, bits);
}

template <std::size_t size>
InterfaceAddress describe(const ifaddrs& entry, const void* address, const void* mask, int family) {
  std::array<unsigned char, size> address_bytes{}, mask_bytes{};
  std::memcpy(address_bytes.data(), address, size);
  std::memcpy(mask_bytes.data(), mask, size);
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(family, address, text, sizeof text);
  return {entry.ifa_name, text, network_of(address_bytes, mask_bytes, family)};
}

std::vector<InterfaceAddress> interface_addresses() {
  std::vector<InterfaceAddress> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, &::freeifaddrs);
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_netmask == nullptr) continue;
    if (entry->ifa_addr->sa_family == AF_INET) {
      found.push_back(describe<4>(*entry, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr,
                                  &reinterpret_cast<const sockaddr_in*>(entry->ifa_netmask)->sin_addr, AF_INET));
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      found.push_back(describe<16>(*entry, &reinterpret_cast<const sockaddr_in6*>(entry->ifa_addr)->sin6_addr,
                                   &reinterpret_cast<const sockaddr_in6*>(entry->ifa_netmask)->sin6_addr, AF_INET6));
    }
  }
  return found;
}

std::vector<std::filesystem::path> sorted_entries(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> entries;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) entries.push_back(entry.path());
  std::sort(entries.begin(), entries.end());
  return entries;
}

}  // namespace

// The kernel's InfiniBand tree: class/infiniband/mlx5_0/ports/1/{state,link_layer}, "4: ACTIVE", "InfiniBand" or
// "Ethernet" (RoCE).
std::vector<Fabric> find_fabrics(const std::string& sys) {
  std::vector<Fabric> fabrics;
  for (const auto& adapter : sorted_entries(sys + "/class/infiniband")) {
    for (const auto& port : sorted_entries(adapter / "ports")) {
      if (!first_line(port / "state").starts_with("4")) continue;
      const bool roce = first_line(port / "link_layer") == "Ethernet";
      fabrics.push_back({roce ? Fabric::Kind::roce : Fabric::Kind::infiniband, adapter.filename(),
                         static_cast<std::uint32_t>(std::strtoul(port.filename().c_str(), nullptr, 10))});
      break;
    }
  }
  return fabrics;
}

Result<ProbeResult> probe(const ProbeRequest& request) {
  ProbeResult result;
  Inventory& inventory = result.inventory;
  inventory.flavour = request.flavour;
  inventory.pool = request.pool;
  inventory.topology = request.topology;
  inventory.address = request.address;
  inventory.network_cidr = request.network_cidr;
  inventory.agent_version = TRAINYARD_VERSION;
  inventory.cores = std::thread::hardware_concurrency();
  inventory.memory_bytes =
      static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::string seen;
  for (const InterfaceAddress& found : interface_addresses()) {
    seen += (seen.empty() ? "" : ", ") + found.address;
    if (found.address != request.address) continue;
    result.interface = found.interface;
    if (inventory.network_cidr.empty()) inventory.network_cidr = found.network_cidr;
  }
  if (result.interface.empty()) {
    return Error{Code::invalid_argument,
                 fmt::format("address {} is not one of this machine's ({}); set `address` to the one on the cluster's "
                             "network",
                             request.address, seen)};
  }
  inventory.network_interface = result.interface;
  inventory.fabrics = find_fabrics("/sys");
  inventory.gpus = nvidia_gpus();
  for (std::uint32_t i = 0; i < request.pretend_gpus; ++i) {
    inventory.gpus.push_back({.uuid = fmt::format("PRETEND-{}-{}", request.node_name, i),
                              .model = "pretend",
                              .memory_bytes = 0,
                              .pretend = true});
  }
  return result;
}

}  // namespace trainyard::agent
