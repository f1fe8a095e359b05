#include "storage/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace trainyard::storage {

Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(x_statement, other.x_statement);
  return *this;
}

Statement::~Statement() {
  sqlite3_finalize(x_statement);
}

bool Statement::next() {
  if (x_code != kSqlOk) return false;
  int code = sqlite3_step(x_statement);
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) note(sqlite3_extended_errcode(sqlite3_db_handle(x_statement)));
  return false;
}

int Statement::finish() {
  while (next()) {
  }
  sqlite3_reset(x_statement);
  return x_code;
}

std::int64_t Statement::integer(int column) const {
  return sqlite3_column_int64(x_statement, column);
}

std::string Statement::text(int column) const {
  const auto* bytes = sqlite3_column_text(x_statement, column);
  if (!bytes) return {};
  return {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(sqlite3_column_bytes(x_statement, column))};
}

std::string Statement::bytes(int column) const {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(x_statement, column));
  if (!bytes) return {};
  return {bytes, static_cast<std::size_t>(sqlite3_column_bytes(x_statement, column))};
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(x_statement, column) == SQLITE_NULL;
}

int Statement::columns() const {
  return sqlite3_column_count(x_statement);
}

std::string Statement::name(int column) const {
  return sqlite3_column_name(x_statement, column);
}

void Statement::bind(int index, std::int64_t value) {
  note(sqlite3_bind_int64(x_statement, index, value));
}

void Statement::bind(int index, std::string_view value) {
  // An empty view may have a null pointer, which SQLite would take for NULL.
  const char* bytes = value.data() ? value.data() : "";
  note(sqlite3_bind_text(x_statement, index, bytes, static_cast<int>(value.size()), SQLITE_STATIC));
}

void Statement::bind(int index, Blob value) {
  const char* bytes = value.bytes.data() ? value.bytes.data() : "";
  note(sqlite3_bind_blob(x_statement, index, bytes, static_cast<int>(value.bytes.size()), SQLITE_STATIC));
}

void Statement::bind_null(int index) {
  note(sqlite3_bind_null(x_statement, index));
}

Result<Connection> Connection::open(const std::string& path, Mode mode) {
  int flags = SQLITE_OPEN_NOMUTEX |
              (mode == Mode::read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  sqlite3* database = nullptr;
  int code = sqlite3_open_v2(path.c_str(), &database, flags, nullptr);
  Connection connection(database);
  if (code != SQLITE_OK) return Error{Code::internal, fmt::format("cannot open {}: {}", path, sqlite3_errstr(code))};
  sqlite3_extended_result_codes(database, 1);
  sqlite3_busy_timeout(database, 0);  // there is nobody to wait for: a busy database is a mistake to be shown
  return connection;
}

Connection& Connection::operator=(Connection&& other) noexcept {
  std::swap(x_database, other.x_database);
  return *this;
}

Connection::~Connection() {
  sqlite3_close_v2(x_database);
}

Error Connection::error(const std::string& doing, int code) const {
  return Error{means_disk_full(code) ? Code::resource_exhausted
               : means_damaged(code) ? Code::data_loss
                                     : Code::internal,
               fmt::format("{}: {} (SQLite {})", doing, sqlite3_errmsg(x_database), code)};
}

Status Connection::execute(const std::string& sql) {
  int code = sqlite3_exec(x_database, sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return error(sql.substr(0, 60), sqlite3_extended_errcode(x_database));
  return {};
}

Result<Statement> Connection::prepare(const std::string& sql) {
  Statement statement;
  int code = sqlite3_prepare_v3(x_database, sql.c_str(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                                &statement.x_statement, nullptr);
  if (code != SQLITE_OK) return error(sql, code);
  return statement;
}

Result<std::int64_t> Connection::integer(const std::string& sql) {
  auto statement = prepare(sql);
  if (!statement) return statement.error();
  statement->start();
  std::int64_t value = statement->next() ? statement->integer(0) : 0;
  if (int code = statement->finish(); code != kSqlOk) return error(sql, code);
  return value;
}

Result<std::string> Connection::text(const std::string& sql) {
  auto statement = prepare(sql);
  if (!statement) return statement.error();
  statement->start();
  std::string value = statement->next() ? statement->text(0) : "";
  if (int code = statement->finish(); code != kSqlOk) return error(sql, code);
  return value;
}

std::int64_t Connection::last_row_id() const {
  return sqlite3_last_insert_rowid(x_database);
}

std::int64_t Connection::changed_rows() const {
  return sqlite3_changes64(x_database);
}

bool Connection::in_transaction() const {
  return sqlite3_get_autocommit(x_database) == 0;
}

void Connection::roll_back() {
  if (in_transaction()) sqlite3_exec(x_database, "ROLLBACK", nullptr, nullptr, nullptr);
}

Status Connection::copy_to(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) return Error{Code::already_exists, path + " exists already: name a new file"};
  auto target = open(path, Mode::read_write);
  if (!target) return target.error();
  ::chmod(path.c_str(), 0600);
  sqlite3_backup* backup = sqlite3_backup_init(target->x_database, "main", x_database, "main");
  if (!backup) return target->error("cannot copy to " + path, sqlite3_extended_errcode(target->x_database));
  sqlite3_backup_step(backup, -1);
  if (int code = sqlite3_backup_finish(backup); code != SQLITE_OK) {
    Error failed = target->error("cannot copy to " + path, code);
    ::unlink(path.c_str());
    return failed;
  }
  // One plain file, without a log beside it.
  if (Status plain = target->execute("PRAGMA journal_mode=DELETE"); !plain) return plain;
  auto verdict = target->text("PRAGMA integrity_check");
  if (!verdict) return verdict.error();
  if (*verdict != "ok") return Error{Code::data_loss, fmt::format("the copy {} is damaged: {}", path, *verdict)};
  return {};
}

bool means_disk_full(int code) {
  // SQLite reports a full disk under the shared-memory file of the log as an I/O error of its own kind.
  return (code & 0xff) == SQLITE_FULL || (code == SQLITE_IOERR_SHMSIZE && errno == ENOSPC);
}

bool means_damaged(int code) {
  return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

}  // namespace trainyard::storage
