// One file operation that the controller asked of this node: the agent's end of ServeFile. Calls and handlers on the
// loop thread. Back-pressure both ways: the next request is read only when asked for, one reply is under way at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"
#include "common/time.h"

namespace trainyard::agent {

struct FileOperation {
  enum class Kind { none, list, read, write, mkdir, remove, remove_share };
  Kind kind = Kind::none;
  std::string volume_kind, root, path;
  std::uint64_t offset = 0;
  bool follow = false;
  std::string volume_json;                // of a volume that is mounted for this operation
  std::optional<SealedValue> credential;  // of that, sealed to this node
};
struct ListedFile {
  std::string name;
  bool is_directory = false;
  std::uint64_t size = 0;
  TimeMs modified_ms = 0;
};
struct FileDone {
  Status status;
  std::uint64_t size = 0;
  bool created = false;
  bool more = false;  // of remove_share: something is left
};

// Each handler but on_closed answers one read_next().
struct FileHandlers {
  std::function<void(FileOperation)> on_operation;
  std::function<void(std::string)> on_data;
  std::function<void()> on_finish;
  std::function<void()> on_closed;  // last: the other side went away, or finish() was sent
};

class FileStream {
 public:
  virtual ~FileStream() = default;
  virtual void read_next() = 0;
  // `sent`: the piece left this process's buffers as far as gRPC says; then the next may be sent.
  virtual void send_data(std::string data, std::function<void()> sent) = 0;
  virtual void send_listing(const std::vector<ListedFile>& files) = 0;
  virtual void finish(const FileDone& done) = 0;  // after what was sent; on_closed follows
  virtual void cancel() = 0;
};

}  // namespace trainyard::agent
