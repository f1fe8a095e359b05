#include "agent/exec/ports.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "agent/exec/files.h"

namespace trainyard::agent {

std::optional<std::uint32_t> port_in_use(const std::vector<std::uint32_t>& ports) {
  for (const std::uint32_t port : ports) {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // What connections of an earlier job left behind (TIME_WAIT) is no reason.
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno == EADDRINUSE) {
      return port;
    }
  }
  return std::nullopt;
}

}  // namespace trainyard::agent
