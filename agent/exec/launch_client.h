// The asking end of the launch socket (launch_socket.h), for trainyard-rsh and trainyard-tasks: small programs inside a
// job that block. The connection may break at any time (the agent restarts): they connect again and repeat what has no
// definite answer yet.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "agent/exec/files.h"

namespace trainyard::agent {

// Where the socket of the job is (TRAINYARD_SOCKET), for connect_to_agent: goes to its directory, because its path may
// be longer than a socket's address holds. False: there is none, the job is over.
bool enter_socket_directory(std::string& path);

UniqueFd connect_to_agent(const std::string& name);

// One request as it goes over the socket.
std::string request_line(const nlohmann::json& request);

// False when the connection is broken; a refusal that came before may still be read.
bool send_all(int fd, const std::string& text);

// Next answer of the connection; nullopt when it is broken. `pending` keeps what was read beyond it.
std::optional<nlohmann::json> read_answer_line(int fd, std::string& pending);

}  // namespace trainyard::agent
