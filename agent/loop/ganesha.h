// nfs-ganesha, the NFS server in user space: whether this machine has it, and its configuration for one file server. It
// speaks NFS 4 over TCP only, so that neither rpcbind nor mountd nor a port of theirs is needed.
#pragma once

#include <cstdint>
#include <string>

namespace trainyard::agent {

struct NfsSoftware {
  std::string program;      // absolute; empty: none that can be used
  std::string description;  // "nfs-ganesha 4.3", or why there is none
};
// Looks where packages put it; `path` is as $PATH. Blocking (it asks the program for its version).
NfsSoftware find_nfs_software(const std::string& path);

struct GaneshaExport {
  std::string directory;  // served, and what clients name: the same on both sides
  std::string address;    // the only one that it listens on
  std::uint32_t port = 0;
  std::string network_cidr;        // clients of this network only; root is root there
  std::string recovery_directory;  // what clients held, for when the server is started again
};
// Pure.
std::string ganesha_config(const GaneshaExport& exported);

}  // namespace trainyard::agent
