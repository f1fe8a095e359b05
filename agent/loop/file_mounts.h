// Volumes of other machines, mounted here for file operations of users: each is kept for a while after its last use,
// because people look twice. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/loop/place.h"

namespace trainyard::agent {

class FileMounts {
 public:
  using Ready = std::function<void(const Result<std::string>& directory)>;
  explicit FileMounts(ExecutorContext& context);

  // Calls back with the directory where it is mounted; then release() is due, once, with that directory.
  void use(const Volume& volume, const std::string& credential, Ready ready);
  void release(const std::string& directory);
  // After a start of the agent: what an earlier life had mounted is taken away.
  void forget();

 private:
  struct Entry {
    Entry(boost::asio::io_context& io, Volume volume_in, std::string credential_in, std::string directory_in)
        : volume(std::move(volume_in)),
          credential(std::move(credential_in)),
          directory(std::move(directory_in)),
          idle(io) {}
    const Volume volume;
    const std::string credential, directory;
    boost::asio::steady_timer idle;
    std::vector<Ready> waiting;
    std::size_t users = 0;
    bool mounted = false;
  };
  void mounted(const std::shared_ptr<Entry>& entry, const Status& status);
  void leave_later(const std::shared_ptr<Entry>& entry);
  std::string place() const { return x_context.work_dir + "/volume-files"; }

  ExecutorContext& x_context;
  std::map<std::string, std::shared_ptr<Entry>> x_entries;  // by directory
  std::uint64_t x_next = 0;
};

}  // namespace trainyard::agent
