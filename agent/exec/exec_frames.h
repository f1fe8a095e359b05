// What agent and trainyard-exec say to each other over its standard input and output: frames of a letter, a length and
// that many bytes; and the order that comes first. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agent/exec/shim.h"

namespace trainyard::agent {

// To the supervisor: kOrder first; then input, its end, and new sizes ("ROWS COLUMNS") of a terminal. The end of its
// standard input means that nobody wants the command any more: all of it is killed.
// From it: kBegan, or kFailed with why nothing runs; output; kEnded with the exit code in decimal, last.
struct Frame {
  enum Kind : char {
    kOrder = 'S',
    kInput = 'I',
    kFinish = 'F',
    kSize = 'W',
    kBegan = 'B',
    kOut = 'o',
    kErr = 'e',
    kEnded = 'X',
    kFailed = '!',
  };
  char kind = 0;
  std::string data;
};
inline constexpr std::size_t kMostFrameBytes = 4 * 1024 * 1024;  // an order carries an environment

std::string frame(Frame::Kind kind, std::string_view data = {});

// Takes bytes as they come, gives frames as they are whole.
class FrameReader {
 public:
  void feed(std::string_view bytes) { x_bytes.append(bytes); }
  std::optional<Frame> next();
  bool broken() const { return x_broken; }  // a frame too long: the other side speaks something else

 private:
  std::string x_bytes;
  std::size_t x_at = 0;
  bool x_broken = false;
};

struct ExecSpec {
  ShimSpec process;  // argv, environment, working_directory, cgroup (its own; removed at the end), uid, gid
  bool terminal = false;
  unsigned rows = 0, columns = 0;
};
std::string to_text(const ExecSpec& spec);
Result<ExecSpec> exec_spec_from(const std::string& text);

}  // namespace trainyard::agent
