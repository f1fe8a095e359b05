// trainyard-rsh [ssh options] HOST COMMAND...: what mpirun calls instead of ssh. Asks the local agent, over the
// holding's Unix socket (TRAINYARD_SOCKET), to run COMMAND on HOST, and lives exactly as long as that process does:
// mpirun takes its end for the other node's. So it sits out restarts of the agent and of the controller: it connects
// again and repeats the same request, for ever; only a definite answer (exited, refused) ends it. Exit code: the
// command's, or 255.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "agent/exec/files.h"
#include "agent/exec/launch_client.h"

namespace trainyard::agent {
namespace {

bool is_host_name(const std::string& host) {
  const auto allowed = [](unsigned char c) {
    return (c < 128 && std::isalnum(c) != 0) || c == '.' || c == '-' || c == '_' || c == ':';
  };
  return !host.empty() && host.size() <= 253 && host[0] != '-' && host[0] != '.' &&
         std::all_of(host.begin(), host.end(), allowed);
}

// Index of the host among the arguments: behind the options that ssh knows, of which these take a value.
int skip_options(int argc, char** argv) {
  int index = 1;
  while (index < argc && argv[index][0] == '-') {
    const std::string option = argv[index++];
    if (option == "--") break;
    if (option.size() == 2 && std::strchr("bcDEeFIiJLlmOopQRSWw", option[1]) != nullptr) ++index;
  }
  return index;
}

// Sends the request and follows the answers. The exit code, or nothing when the connection broke before a definite one.
std::optional<int> converse(int fd, const std::string& request, bool& heard) {
  // A failure shows in the reading, where a refusal that came before our request may still lie.
  (void)send_all(fd, request);
  std::string pending;
  while (const auto found = read_answer_line(fd, pending)) {
    const nlohmann::json& answer = *found;
    heard = true;
    const std::string state = answer.value("state", std::string());
    if (state == "exited") return answer.value("exit_code", 255) & 0xff;
    if (state == "refused") {
      std::fprintf(stderr, "trainyard-rsh: %s\n", answer.value("message", std::string("refused")).c_str());
      return 255;
    }
  }
  return std::nullopt;
}

int run(int argc, char** argv) {
  const int host_index = skip_options(argc, argv);
  const char* socket = std::getenv("TRAINYARD_SOCKET");
  if (host_index + 1 >= argc || socket == nullptr || *socket == '\0') {
    std::fprintf(stderr, "usage: trainyard-rsh HOST COMMAND...   (called by mpirun inside a job of Trainyard)\n");
    return 255;
  }
  std::string host = argv[host_index];
  if (const std::size_t at = host.rfind('@'); at != std::string::npos) host.erase(0, at + 1);
  if (!is_host_name(host)) {
    std::fprintf(stderr, "trainyard-rsh: not a host name: %s\n", host.c_str());
    return 255;
  }
  // The words hold shell quotes: as ssh does, they are joined by blanks for the shell over there.
  std::string command;
  for (int i = host_index + 1; i < argc; ++i) command += (command.empty() ? "" : " ") + std::string(argv[i]);
  const std::string key = std::to_string(::getpid()) + "-" + std::to_string(process_start_time(::getpid()));
  const std::string request = request_line({{"key", key}, {"host", host}, {"command", command}});
  return converse_until_over("trainyard-rsh", socket,
                             [&](int fd, bool& heard) { return converse(fd, request, heard); });
}

}  // namespace
}  // namespace trainyard::agent

int main(int argc, char** argv) {
  return trainyard::agent::run(argc, argv);
}
