#include "agent/volumes/client.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "agent/exec/files.h"
#include "agent/volumes/within.h"

namespace trainyard::agent {
namespace {

using Kind = Volume::Kind;

// Lines of configuration files and words of options: none may become two.
Status check_plain(const ClientRequest& request) {
  const Volume& volume = request.volume;
  const std::pair<const char*, const std::string*> texts[] = {{"source", &volume.source},
                                                              {"endpoint", &volume.endpoint},
                                                              {"user", &volume.user},
                                                              {"options", &volume.options},
                                                              {"key or password", &request.credential}};
  for (const auto& [what, text] : texts) {
    const bool plain =
        std::none_of(text->begin(), text->end(), [](char c) { return static_cast<unsigned char>(c) < ' '; });
    if (!plain) return Error{Code::invalid_argument, std::string("the ") + what + " has a control character"};
  }
  return {};
}

Status write_private(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid() || !write_fully(file.get(), text.data(), text.size())) {
    return system_error("cannot write " + path, errno);
  }
  return {};
}

bool kernel_has(const std::string& type) {
  const auto listed = [&] {
    const auto text = read_whole_file("/proc/filesystems");
    return text && text->find("\t" + type + "\n") != std::string::npos;
  };
  if (listed()) return true;
  const std::string modprobe = find_program("modprobe");
  if (modprobe.empty()) return false;
  run_command({modprobe, "-q", type}, client_environment("/"), 10'000);
  return listed();
}

std::vector<std::string> options_of(const std::string& text) {
  std::vector<std::string> options;
  std::istringstream in(text);
  for (std::string option; std::getline(in, option, ',');) {
    if (!option.empty()) options.push_back(option);
  }
  return options;
}

bool has_option(const Volume& volume, const std::string& option) {
  const auto options = options_of(volume.options);
  return std::find(options.begin(), options.end(), option) != options.end();
}

Result<Client> nfs_client(const ClientRequest& request) {
  const std::string mount = find_program("mount.nfs");
  if (!kernel_has("nfs4") && !kernel_has("nfs")) {
    return Error{Code::failed_precondition,
                 "this machine cannot mount NFS: its kernel has no NFS client (no nfs4 in /proc/filesystems, and no "
                 "module nfs), and there is no FUSE client for it"};
  }
  if (mount.empty()) {
    return Error{Code::failed_precondition, "this machine cannot mount NFS: mount.nfs is missing; install nfs-common"};
  }
  Client client{.name = "kernel nfs"};
  std::string source = request.volume.source;
  // A share is a directory below its account's export, made when it is missing.
  const auto slash = source.rfind('/');
  if (request.volume.file_server.empty() && slash != std::string::npos && source.find(":/") < slash - 1) {
    client.below = source.substr(slash + 1);
    source.resize(slash);
  }
  client.mount_command = {mount, source, request.mount_point, "-o",
                          "nosuid,nodev" + (request.volume.options.empty() ? "" : "," + request.volume.options)};
  return client;
}

// A file that is installed with this program: BUILD/bin and BUILD/lib, /usr/bin and /usr/lib.
std::string beside_programs(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  return (self.parent_path().parent_path() / name).string();
}

struct SmbPlace {
  std::string host, share, below;
};
Result<SmbPlace> smb_place(const std::string& source) {
  SmbPlace place;
  const auto slash = source.find('/', 2);
  if (!source.starts_with("//") || slash == std::string::npos || slash == 2) {
    return Error{Code::invalid_argument, source + " must look like //HOST/share"};
  }
  place.host = source.substr(2, slash - 2);
  const auto end = source.find('/', slash + 1);
  place.share = source.substr(slash + 1, end == std::string::npos ? end : end - slash - 1);
  if (end != std::string::npos) place.below = source.substr(end + 1);
  return place;
}

// smbclient says what is wrong in the server's words; where it is missing, an error is only seen at the first read.
Status add_smb_check(const ClientRequest& request, const SmbPlace& place, Client& client) {
  const std::string smbclient = find_program("smbclient");
  // Its file has no quotes: it would take a password's first blank away, and be refused.
  if (smbclient.empty() || request.credential.starts_with(' ')) return {};
  const std::string file = request.secrets + "/smbclient";
  client.checks.push_back({smbclient, "-A", file, "//" + place.host + "/" + place.share, "-c", "quit"});
  return write_private(file, "username = " + request.volume.user + "\npassword = " + request.credential + "\n");
}

Status write_smbnetfs_files(const ClientRequest& request, const SmbPlace& place) {
  const std::string home = request.secrets + "/.smb";
  ::mkdir(home.c_str(), 0700);
  const auto quoted = [](const std::string& text) {
    std::string out = "\"";
    for (const char c : text) out += (c == '"' || c == '\\') ? std::string{'\\', c} : std::string(1, c);
    return out + "\"";
  };
  // Not neg_cache "false": with that smbnetfs 0.6.3 waits for itself before it mounts anything, for ever, without a
  // word. What it shows as free space is a number of pages that it is told.
  const std::pair<const char*, std::string> files[] = {
      {"smb.conf", "[global]\nclient min protocol = SMB2\nname resolve order = host\ndisable netbios = yes\n"},
      {"smbnetfs.conf",
       "smb_query_browsers \"false\"\nuse_libsecret \"false\"\nneg_cache_timeout 1\nfree_space_size 268435456\n"
       "stat_workaround_enable_default_entries \"false\"\nstat_workaround_depth \"0\"\ninclude \"smbnetfs.auth\"\n"
       "host " +
           quoted(place.host) + " visible=true\n"},
      {"smbnetfs.auth",
       "auth " + quoted(place.host) + " " + quoted(request.volume.user) + " " + quoted(request.credential) + "\n"}};
  for (const auto& [name, text] : files) {
    if (const Status written = write_private(home + "/" + name, text); !written) return written;
  }
  return {};
}

// All users of a node share one mount, which is root's: the modes say what others, the jobs' users, may do. smbnetfs
// keeps none, FUSE shows one for everything, and the kernel holds users to it.
Result<Client> smbnetfs_client(const ClientRequest& request, const SmbPlace& place, Client client) {
  const std::string smbnetfs = find_program("smbnetfs");
  if (smbnetfs.empty()) {
    return Error{
        Code::failed_precondition,
        "this machine cannot mount SMB: its kernel has no cifs (or mount.cifs is missing: install cifs-utils), "
        "and there is no smbnetfs"};
  }
  const auto mode = [](const std::string& text) { return std::strtoul(text.c_str(), nullptr, 8) & 0777UL; };
  const unsigned long files = mode(request.settings.file_mode);
  if (files != mode(request.settings.directory_mode)) {
    return Error{Code::failed_precondition, "smbnetfs shows files and directories with one mode: fileMode " +
                                                request.settings.file_mode + " and directoryMode " +
                                                request.settings.directory_mode +
                                                " must be the same (or install cifs-utils on a kernel with cifs)"};
  }
  const std::string writes = beside_programs("lib/trainyard/trainyard-smbnetfs.so");
  if (::access(writes.c_str(), R_OK) != 0) return Error{Code::failed_precondition, "cannot read " + writes};
  if (const Status written = write_smbnetfs_files(request, place); !written) return written.error();
  char umask[8];
  std::snprintf(umask, sizeof umask, "0%03lo", 0777UL & ~files);
  client.name = "smbnetfs";
  client.daemon = {smbnetfs,
                   request.mount_point,
                   "-f",
                   "-o",
                   std::string("allow_other,nosuid,nodev,default_permissions,umask=") + umask +
                       (has_option(request.volume, "ro") ? ",ro" : ""),
                   "-o",
                   "smb_timeout=5000,reply_timeout=10,max_retry_count=1"};
  client.daemon_environment = {"LD_PRELOAD=" + writes};
  client.below = place.host + "/" + place.share + (place.below.empty() ? "" : "/" + place.below);
  return client;
}

Result<Client> smb_client(const ClientRequest& request) {
  const auto place = smb_place(request.volume.source);
  if (!place) return place.error();
  Client client{.name = "kernel cifs", .below = place->below};
  if (const Status added = add_smb_check(request, *place, client); !added) return added.error();
  const std::string mount = find_program("mount.cifs");
  if (mount.empty() || !kernel_has("cifs")) return smbnetfs_client(request, *place, std::move(client));
  const std::string file = request.secrets + "/cifs";
  if (const Status written =
          write_private(file, "username=" + request.volume.user + "\npassword=" + request.credential + "\n");
      !written) {
    return written.error();
  }
  // A server that is silent for three echoes is given up: only then is set free what waits for it where no signal does
  // (a page that is written, the last unmount). The kernel's own 60 would make that three minutes.
  client.mount_command = {mount, "//" + place->host + "/" + place->share, request.mount_point, "-o",
                          "credentials=" + file + ",file_mode=" + request.settings.file_mode +
                              ",dir_mode=" + request.settings.directory_mode + ",echo_interval=10,nosuid,nodev" +
                              (request.volume.options.empty() ? "" : "," + request.volume.options)};
  return client;
}

std::string rclone_file(const ClientRequest& request) {
  const Volume& volume = request.volume;
  if (volume.kind == Kind::s3) {
    return "[v]\ntype = s3\nprovider = Other\nenv_auth = false\nforce_path_style = true\naccess_key_id = " +
           volume.user + "\nsecret_access_key = " + request.credential + "\nendpoint = " + volume.endpoint + "\n";
  }
  // "use_emulator" is rclone's word for: the endpoint is a whole URL, of any server that speaks Azure Blob.
  return "[v]\ntype = azureblob\naccount = " + volume.user + "\nkey = " + request.credential +
         "\nuse_emulator = true\nendpoint = " + volume.endpoint + "\n";
}

Result<Client> rclone_client(const ClientRequest& request, const std::string& rclone) {
  const std::string file = request.secrets + "/rclone.conf", remote = "v:" + request.volume.source;
  if (const Status written = write_private(file, rclone_file(request)); !written) return written.error();
  const std::vector<std::string> common = {rclone, "--config",  file, "--contimeout",        "5s", "--timeout",
                                           "10s",  "--retries", "1",  "--low-level-retries", "1"};
  const auto with = [&](std::vector<std::string> words) {
    words.insert(words.begin(), common.begin(), common.end());
    return words;
  };
  const std::string bucket = "v:" + request.volume.source.substr(0, request.volume.source.find('/'));
  Client client{.name = "rclone"};
  client.checks.push_back(with({"lsf", "--max-depth", "1", bucket}));
  client.make = with({"mkdir", bucket});
  // Files are sent a second after they are closed: at once (0s) rclone 1.60 loses a file that is renamed right then.
  // What other nodes did is seen after a second.
  client.daemon =
      with({"mount", remote, request.mount_point, "--allow-other", "--vfs-cache-mode", "writes", "--vfs-write-back",
            "1s", "--cache-dir", request.cache, "--dir-cache-time", "1s", "--attr-timeout", "1s",
            // Jobs have user ids of their own; objects have none.
            "--umask", "000"});
  if (has_option(request.volume, "ro")) client.daemon.push_back("--read-only");
  client.dirty_files = request.cache + "/vfsMeta";
  return client;
}

Result<Client> s3fs_client(const ClientRequest& request, const std::string& s3fs) {
  const std::string file = request.secrets + "/s3fs";
  if (const Status written = write_private(file, request.volume.user + ":" + request.credential + "\n"); !written) {
    return written.error();
  }
  const auto slash = request.volume.source.find('/');
  std::string bucket = request.volume.source.substr(0, slash);
  if (slash != std::string::npos) bucket += ":" + request.volume.source.substr(slash);
  Client client{.name = "s3fs"};
  client.daemon = {s3fs,
                   bucket,
                   request.mount_point,
                   "-f",
                   "-o",
                   "url=" + request.volume.endpoint + ",use_path_request_style,passwd_file=" + file +
                       ",allow_other,nosuid,nodev,umask=0000,mp_umask=0000,retries=1,connect_timeout=5,"
                       "readwrite_timeout=10,"
                       "stat_cache_expire=1" +
                       (has_option(request.volume, "ro") ? ",ro" : "")};
  return client;
}

Result<Client> object_client(const ClientRequest& request) {
  const std::string rclone = find_program("rclone"), s3fs = find_program("s3fs");
  if (!rclone.empty() && !has_option(request.volume, "client=s3fs")) return rclone_client(request, rclone);
  if (request.volume.kind == Kind::s3 && !s3fs.empty()) return s3fs_client(request, s3fs);
  return Error{Code::failed_precondition, request.volume.kind == Kind::s3
                                              ? "this machine cannot mount S3: install rclone or s3fs"
                                              : "this machine cannot mount Azure Blob: install rclone"};
}

}  // namespace

Result<Client> choose_client(const ClientRequest& request) {
  if (const Status plain = check_plain(request); !plain) return plain.error();
  switch (request.volume.kind) {
    case Kind::nfs:
      return nfs_client(request);
    case Kind::smb:
      return smb_client(request);
    case Kind::s3:
    case Kind::azure_blob:
      return object_client(request);
    case Kind::local:
    case Kind::command:
      break;
  }
  TY_CHECK(false);
}

std::vector<std::string> client_environment(const std::string& home) {
  // Nothing else of the agent's: AWS_CA_BUNDLE and the like would change what is mounted.
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + home, "LANG=C.UTF-8"};
}

Code code_of_words(const std::string& words) {
  for (const char* word :
       {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "403", "LOGON_FAILURE",
        "ACCESS_DENIED", "invalid credentials", "ermission denied", "(13)", "InvalidAuthenticationInfo"}) {
    if (words.find(word) != std::string::npos) return Code::permission_denied;
  }
  for (const char* word :
       {"NoSuchBucket", "irectory not found", "BAD_NETWORK_NAME", "ContainerNotFound", "No such file"}) {
    if (words.find(word) != std::string::npos) return Code::not_found;
  }
  return Code::unavailable;
}

std::string last_words(const std::string& output) {
  std::istringstream in(output);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  constexpr std::size_t kMost = 4;
  std::string text;
  for (std::size_t i = lines.size() - std::min(lines.size(), kMost); i < lines.size(); ++i) {
    text += (text.empty() ? "" : "; ") + lines[i];
  }
  return text;
}

Result<std::string> read_credentials_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about {};
  if (!file.valid() || ::fstat(file.get(), &about) != 0) {
    return Error{Code::failed_precondition, "the operator's credentials_file " + path +
                                                " cannot be read on this node: " + system_error("", errno).message};
  }
  if ((about.st_mode & 077) != 0 || about.st_uid != 0) {
    return Error{Code::failed_precondition, "the operator's credentials_file " + path +
                                                " can be read by others on this node: chown root, chmod 0600"};
  }
  auto text = read_whole_file(path);
  if (!text) return text.error();
  const auto end = text->find_first_of("\r\n");
  return text->substr(0, end);
}

}  // namespace trainyard::agent
