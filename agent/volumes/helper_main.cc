#include "agent/volumes/helper_main.h"

#include <sys/stat.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "agent/volumes/beneath.h"
#include "agent/volumes/helper_verbs.h"

namespace trainyard::agent {
namespace {

int exit_of_code(Code code) {
  switch (code) {
    case Code::ok:
      return 0;
    case Code::not_found:
      return 2;
    case Code::already_exists:
      return 3;
    case Code::permission_denied:
      return 4;
    case Code::resource_exhausted:
      return 5;
    case Code::invalid_argument:
      return 6;
    case Code::failed_precondition:
      return 7;
    case Code::unavailable:
      return 9;
    case Code::deadline_exceeded:
      return 10;
    default:
      return 8;
  }
}

struct Verb {
  Status (*function)(const helper::Arguments&);
  std::size_t least_words;
  bool makes_share = true;  // with --share: the share's directory, when it is missing
};

const std::map<std::string, Verb>& verbs() {
  static const std::map<std::string, Verb> table{
      {"mount", {helper::mount, 2}},
      {"unmount", {helper::unmount, 1}},
      {"mount-volume", {helper::mount_volume, 0}},
      {"unmount-volume", {helper::unmount_volume, 1}},
      {"sweep-volumes", {helper::sweep_volumes, 1}},
      {"check-mount", {helper::check_mount, 1}},
      {"mkdir", {helper::make_directories, 2}},
      {"list", {helper::list, 2, false}},
      {"read", {helper::read, 2}},
      {"write", {helper::write, 2}},
      {"delete", {helper::delete_entry, 2, false}},
      {"remove", {helper::remove, 1}},
      {"remove-beneath", {helper::remove_beneath, 2}},
      {"remove-share", {helper::remove_share, 1, false}},
      {"ship-log", {helper::ship_log, 3}},
      {"rotate-stdouterr", {helper::rotate_stdouterr, 3}},
      {"keep-earlier", {helper::keep_earlier, 4}},
  };
  return table;
}

// Options first, then words. False: not understood.
bool parse(int argc, char** argv, helper::Arguments& arguments) {
  int index = 2;
  for (; index < argc && argv[index][0] == '-' && argv[index][1] == '-'; ++index) {
    const std::string option = argv[index];
    if (option == "--") {
      ++index;
      break;
    }
    if (option == "--follow") {
      arguments.follow = true;
      continue;
    }
    if (option == "--share") {
      arguments.share = true;
      continue;
    }
    if (index + 1 == argc) return false;
    char* end = nullptr;
    const char* value = argv[++index];
    if (option == "--mode") {
      arguments.mode = static_cast<unsigned>(std::strtoul(value, &end, 8));
    } else if (option == "--as") {
      arguments.uid = static_cast<std::uint32_t>(std::strtoul(value, &end, 10));
      if (*end != ':') return false;
      value = end + 1;
      arguments.gid = static_cast<std::uint32_t>(std::strtoul(value, &end, 10));
    } else if (option == "--offset") {
      arguments.offset = std::strtoull(value, &end, 10);
    } else if (option == "--limit") {
      arguments.limit_ms = std::strtoll(value, &end, 10);
    } else {
      return false;
    }
    if (end == value || *end != '\0') return false;
  }
  arguments.words.assign(argv + index, argv + argc);
  return true;
}

}  // namespace

Code code_of_helper_exit(int exit_code) {
  switch (exit_code) {
    case 0:
      return Code::ok;
    case 2:
      return Code::not_found;
    case 3:
      return Code::already_exists;
    case 4:
      return Code::permission_denied;
    case 5:
      return Code::resource_exhausted;
    case 6:
      return Code::invalid_argument;
    case 7:
      return Code::failed_precondition;
    case 9:
      return Code::unavailable;
    case 10:
    case -1:
      return Code::deadline_exceeded;
    default:
      return Code::internal;
  }
}

std::string write_frame(const std::string& data) {
  // An empty frame would be the finish.
  return data.empty() ? std::string() : std::to_string(data.size()) + "\n" + data;
}

int helper_main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  ::umask(0);  // modes are meant as given
  const auto found = argc < 2 ? verbs().end() : verbs().find(argv[1]);
  helper::Arguments arguments;
  if (found == verbs().end() || !parse(argc, argv, arguments) || arguments.words.size() < found->second.least_words) {
    std::fprintf(stderr, "usage: trainyard-helper VERB [OPTIONS] WORDS...   (started by trainyard-agent)\n");
    return exit_of_code(Code::invalid_argument);
  }
  Status done;
  if (arguments.share) {
    const std::string& share = arguments.words[0];
    done = found->second.makes_share ? make_share_directory(share) : check_share_place(share);
  }
  if (done) done = found->second.function(arguments);
  if (done) return 0;
  std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return exit_of_code(done.error().code);
}

}  // namespace trainyard::agent
