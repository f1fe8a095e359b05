#include "cli/admin_account.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "cli/program.h"

namespace trainyard::cli {
namespace {

std::string home_path(const std::string& path) {
  const char* home = std::getenv("HOME");
  return path.starts_with("~/") && home != nullptr ? home + path.substr(1) : path;
}

}  // namespace

Result<std::string> ssh_public_key(const std::string& given, bool config_file) {
  if (given.empty()) {
    if (config_file) return std::string();
    auto usual = read_text_file(home_path("~/.ssh/id_rsa.pub"), 65536);
    if (!usual) return std::string();
    usual->erase(usual->find_last_not_of(" \r\n") + 1);
    return usual;
  }
  if (given.starts_with("ssh-") || given.starts_with("ecdsa-")) return given;
  auto text = read_text_file(home_path(given), 65536);
  if (!text) {
    return Error{Code::invalid_argument,
                 "--ssh-key: \"" + given + "\" is neither a public key nor a file that can be read"};
  }
  text->erase(text->find_last_not_of(" \r\n") + 1);
  return text;
}

std::string current_user() {
  const passwd* user = getpwuid(geteuid());
  return user == nullptr ? "" : user->pw_name;
}

void warn(const std::string& what) {
  fmt::print(stderr, "trainyard: warning: {}\n", what);
}

}  // namespace trainyard::cli
