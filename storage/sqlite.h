// A thin RAII over sqlite3: one connection, prepared statements, values only as bound parameters. Not thread-safe: each
// object belongs to one thread. Results are SQLite's own codes, so that a caller can tell a full disk from a failed
// one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace trainyard::storage {

inline constexpr int kSqlOk = 0;  // SQLITE_OK

class Connection;

// Bytes as they are, where text is not meant.
struct Blob {
  std::string_view bytes;
};

// Prepared once, run many times. Text given to bind must stay alive until the step is done.
class Statement {
 public:
  Statement() = default;
  Statement(Statement&& other) noexcept : x_statement(std::exchange(other.x_statement, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept;
  ~Statement();

  // Binds all parameters in order, runs to the end and resets. kSqlOk or SQLite's extended code.
  template <class... Values>
  int run(const Values&... values) {
    start(values...);
    return finish();
  }
  // Binds and leaves the statement before its first row; then next() until false, then finish().
  template <class... Values>
  void start(const Values&... values) {
    x_code = kSqlOk;
    [[maybe_unused]] int index = 0;
    (bind(++index, values), ...);
  }
  bool next();
  // Runs what is left, resets; kSqlOk or the first error since start().
  int finish();

  std::int64_t integer(int column) const;
  std::uint64_t number(int column) const { return static_cast<std::uint64_t>(integer(column)); }
  std::string text(int column) const;
  std::string bytes(int column) const;  // of a blob
  bool is_null(int column) const;
  int columns() const;
  std::string name(int column) const;

 private:
  friend class Connection;
  void bind(int index, std::int64_t value);
  void bind(int index, std::uint64_t value) { bind(index, static_cast<std::int64_t>(value)); }
  void bind(int index, std::int32_t value) { bind(index, static_cast<std::int64_t>(value)); }
  void bind(int index, std::uint32_t value) { bind(index, static_cast<std::int64_t>(value)); }
  void bind(int index, bool value) { bind(index, static_cast<std::int64_t>(value)); }
  void bind(int index, std::string_view value);
  void bind(int index, Blob value);
  void bind(int index, const std::string& value) { bind(index, std::string_view(value)); }
  void bind(int index, const char* value) { bind(index, std::string_view(value)); }
  template <class T>
  void bind(int index, const std::optional<T>& value) {
    value ? bind(index, *value) : bind_null(index);
  }
  void bind_null(int index);
  void note(int code) {
    if (x_code == kSqlOk) x_code = code;
  }

  sqlite3_stmt* x_statement = nullptr;
  int x_code = kSqlOk;
};

class Connection {
 public:
  enum class Mode { read_write, read_only };
  static Result<Connection> open(const std::string& path, Mode mode);
  Connection(Connection&& other) noexcept : x_database(std::exchange(other.x_database, nullptr)) {}
  Connection& operator=(Connection&& other) noexcept;
  ~Connection();

  // Statements without parameters and results, separated by ';'.
  Status execute(const std::string& sql);
  Result<Statement> prepare(const std::string& sql);
  // The first column of the first row.
  Result<std::int64_t> integer(const std::string& sql);
  Result<std::string> text(const std::string& sql);

  std::int64_t last_row_id() const;   // of the row that was inserted last
  std::int64_t changed_rows() const;  // by the statement that ran last
  bool in_transaction() const;
  void roll_back();
  Error error(const std::string& doing, int code) const;  // with SQLite's own words

  // Copies the whole database to `path` (which must not exist) and checks the copy's integrity.
  Status copy_to(const std::string& path);

 private:
  explicit Connection(sqlite3* database) : x_database(database) {}
  sqlite3* x_database = nullptr;
};

// The disk is full (as opposed to broken): freeing space and repeating the transaction can help.
bool means_disk_full(int code);
// The file is not a database, or not a whole one: nothing more can be expected of it.
bool means_damaged(int code);

}  // namespace trainyard::storage
