// Ports of this machine's loopback that lead to addresses as a node sees them: -L LOCAL:HOST:PORT. Each connection is
// an exec call of its own. Threads of its own; the destructor ends them all.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/exec_session.h"

namespace trainyard::cli {

struct Forward {
  std::uint16_t local = 0;  // 0: any free one
  std::string host;
  std::uint16_t port = 0;
};
// "8888:localhost:8888"; an IPv6 host in brackets.
Result<Forward> parse_forward(const std::string& text);

class PortForwards {
 public:
  // `start` says where the connections begin: its job or cluster, and node.
  PortForwards(OpenExec open, v1::ExecStart start);
  ~PortForwards();
  // Listens from here on; says on stderr where.
  Status add(const Forward& forward);

 private:
  struct Impl;
  std::unique_ptr<Impl> x_impl;
};

}  // namespace trainyard::cli
