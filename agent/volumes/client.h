// Programs that make a server's files appear on this node: the kernel's own NFS and SMB, smbnetfs, rclone, s3fs. Chosen
// by what this machine has; a refusal says what is missing. For helper processes; blocks.
#pragma once

#include <string>
#include <vector>

#include "agent/volumes/mounter.h"
#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

// What there is to be mounted, and where its client's things may lie.
struct ClientRequest {
  Volume volume;
  std::string credential;  // the user's, or of the operator's file; may be empty
  MountSettings settings;
  std::string mount_point;  // made
  std::string secrets;      // a directory in memory, 0700: configuration with keys
  std::string cache;        // a directory on disk
};

struct Client {
  std::string name;                              // "rclone", "kernel cifs", ...
  std::vector<std::string> mount_command;        // of the kernel's: ends when it is mounted
  std::vector<std::string> daemon;               // of FUSE: runs in the foreground for as long as it is mounted
  std::vector<std::string> daemon_environment;   // NAME=VALUE, beside client_environment()
  std::vector<std::vector<std::string>> checks;  // say, before the mount, in clear words what is wrong
  // When the last check says that there is no such bucket: this makes it.
  std::vector<std::string> make;
  std::string below;        // the volume's directory below the mount point; empty: the mount point itself
  std::string dirty_files;  // rclone: where it notes what is not uploaded yet
};

// Chooses the client and writes its files. An error of FAILED_PRECONDITION: this machine has none.
Result<Client> choose_client(const ClientRequest& request);

// The environment of all of them.
std::vector<std::string> client_environment(const std::string& home);

// The kind of error that a client's words mean: PERMISSION_DENIED, NOT_FOUND, otherwise the machines' fault.
Code code_of_words(const std::string& words);
// Its last lines, without time stamps, in one.
std::string last_words(const std::string& output);

// The operator's file: root's, and nobody else's to read.
Result<std::string> read_credentials_file(const std::string& path);

}  // namespace trainyard::agent
