#include "agent/loop/ganesha.h"

#include <fmt/format.h>
#include <glob.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <memory>
#include <sstream>

namespace trainyard::agent {
namespace {

std::string in_path(const std::string& path, const std::string& program) {
  std::stringstream directories(path);
  for (std::string directory; std::getline(directories, directory, ':');) {
    const std::string candidate = directory + "/" + program;
    if (!directory.empty() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

bool any_file(const char* pattern) {
  glob_t found{};
  const bool there = ::glob(pattern, 0, nullptr, &found) == 0;
  ::globfree(&found);
  return there;
}

// "NFS-Ganesha Release = V4.3" -> "4.3"
std::string version_of(const std::string& program) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen((program + " -v 2>/dev/null").c_str(), "re"), &::pclose);
  if (!pipe) return "";
  std::array<char, 256> line{};
  if (std::fgets(line.data(), line.size(), pipe.get()) == nullptr) return "";
  const std::string text = line.data();
  const auto begin = text.find("= V");
  return begin == std::string::npos ? "" : text.substr(begin + 3, text.find_first_of(" \n", begin + 3) - begin - 3);
}

}  // namespace

NfsSoftware find_nfs_software(const std::string& path) {
  const std::string program = in_path(path + ":/usr/sbin:/usr/bin", "ganesha.nfsd");
  if (program.empty()) {
    return {"", "ganesha.nfsd is not installed (Debian's packages nfs-ganesha and nfs-ganesha-vfs)"};
  }
  if (!any_file("/usr/lib/*/ganesha/libfsalvfs.so") && !any_file("/usr/lib*/ganesha/libfsalvfs.so")) {
    return {"", program + " is installed without its FSAL for local file systems (Debian's package nfs-ganesha-vfs)"};
  }
  const std::string version = version_of(program);
  return {program, "nfs-ganesha" + (version.empty() ? "" : " " + version)};
}

// Root is not squashed: jobs run as root on the nodes, and could not write otherwise. After a restart, clients have the
// time of a lease to say what they held open; the usual 60 and 90 s would keep every job that opens a file waiting.
std::string ganesha_config(const GaneshaExport& exported) {
  return fmt::format(R"(# Written by trainyard-agent at every start of the server.
NFS_CORE_PARAM {{
  Protocols = 4;
  NFS_Port = {port};
  Bind_addr = {address};
  Enable_NLM = false;
  Enable_RQUOTA = false;
  Enable_UDP = false;
}}
NFSV4 {{
  RecoveryBackend = fs;
  RecoveryRoot = {recovery};
  Lease_Lifetime = 20;
  Grace_Period = 20;
  Only_Numeric_Owners = true;
}}
NFS_KRB5 {{ Active_krb5 = false; }}
EXPORT {{
  Export_Id = 1;
  Path = {directory};
  Pseudo = {directory};
  Protocols = 4;
  Transports = TCP;
  SecType = sys;
  Access_Type = None;
  CLIENT {{
    Clients = {network};
    Protocols = 4;
    Access_Type = RW;
    Squash = No_Root_Squash;
  }}
  FSAL {{ Name = VFS; }}
}}
)",
                     fmt::arg("port", exported.port), fmt::arg("address", exported.address),
                     fmt::arg("recovery", exported.recovery_directory), fmt::arg("directory", exported.directory),
                     fmt::arg("network", exported.network_cidr));
}

}  // namespace trainyard::agent
