// The asking end of the launch socket (launch_socket.h), for trainyard-rsh and trainyard-tasks: small programs inside a
// job that block. The connection may break at any time (the agent restarts): they connect again and repeat what has no
// definite answer yet.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "agent/exec/files.h"

namespace trainyard::agent {

// One request as it goes over the socket.
std::string request_line(const nlohmann::json& request);

// False when the connection is broken; a refusal that came before may still be read.
bool send_all(int fd, const std::string& text);

// Next answer of the connection; nullopt when it is broken. `pending` keeps what was read beyond it.
std::optional<nlohmann::json> read_answer_line(int fd, std::string& pending);

// Connects to the job's socket (TRAINYARD_SOCKET) and converses, again and again, until a conversation has a definite
// end: its exit code. Goes on for ever otherwise. 255 when the job is over; SIGTERM and SIGINT end the process with
// 255. `heard`: the agent said something in this conversation.
using Converse = std::function<std::optional<int>(int fd, bool& heard)>;
int converse_until_over(const char* program, const std::string& socket, const Converse& converse);

}  // namespace trainyard::agent
