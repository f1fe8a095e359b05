#include "storage/sqlite_store.h"

#include <fmt/format.h>

#include <utility>

#include "storage/row_sql.h"
#include "storage/schema.h"
#include "storage/sqlite.h"
#include "storage/usage_rows.h"

namespace trainyard::storage {

struct SqliteStore::Impl {
  StateDir directory;
  Connection connection;
  RowWriter writer;
  Statement begin, commit, lines, lines_of_subject;
  std::vector<std::string> warnings;
  bool wants_reserve = false;  // it was given up: make it again when there is room

  int write(const core::Changes& changes);
};

namespace {

Status set_up(Connection& connection, int checkpoint_pages) {
  return connection.execute(
      fmt::format("PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;PRAGMA foreign_keys=OFF;"
                  "PRAGMA wal_autocheckpoint={};PRAGMA journal_size_limit={};PRAGMA cache_size=-32768",
                  checkpoint_pages, 64 << 20));
}

Status check_integrity(Connection& connection, const std::string& file) {
  auto verdict = connection.text("PRAGMA quick_check(1)");
  std::string damage = verdict ? *verdict : verdict.error().message;
  if (damage == "ok") return {};
  return Error{Code::data_loss,
               fmt::format("the database {} is damaged ({}): move it away and restore the newest copy", file, damage)};
}

core::TimelineLine read_line(const Statement& row) {
  return {row.number(0), row.integer(1), row.text(2), row.text(3), row.text(4), row.text(5)};
}

}  // namespace

SqliteStore::SqliteStore(std::unique_ptr<Impl> impl) : x_impl(std::move(impl)) {}
SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(const std::string& state_dir, const SqliteOptions& options) {
  auto directory = StateDir::open(state_dir, options.space);
  if (!directory) return directory.error();
  const std::string file = directory->file("trainyard.db");
  auto opened = Connection::open(file, Connection::Mode::read_write);
  if (!opened) return opened.error();
  Connection& connection = *opened;
  if (Status checked = check_integrity(connection, file); !checked) return checked.error();
  if (Status ready = set_up(connection, options.checkpoint_pages); !ready) return ready.error();
  auto upgraded = migrate(connection, migrations(), directory->file("before-upgrade-from-schema-"));
  if (!upgraded) return upgraded.error();
  auto writer = RowWriter::prepare(connection);
  if (!writer) return writer.error();

  const std::string columns = "SELECT sequence,at_ms,who,subject,what,why FROM timeline WHERE sequence>? ";
  const std::string sql[] = {"BEGIN IMMEDIATE", "COMMIT", columns + "ORDER BY sequence LIMIT ?",
                             columns + "AND subject_key=? ORDER BY sequence LIMIT ?"};
  std::vector<Statement> statements;
  for (const std::string& text : sql) {
    auto statement = connection.prepare(text);
    if (!statement) return statement.error();
    statements.push_back(std::move(*statement));
  }
  auto impl = std::make_unique<Impl>(Impl{std::move(*directory),
                                          std::move(connection),
                                          std::move(*writer),
                                          std::move(statements[0]),
                                          std::move(statements[1]),
                                          std::move(statements[2]),
                                          std::move(statements[3]),
                                          {},
                                          false});
  if (!upgraded->empty()) impl->warnings.push_back("the database was upgraded; a copy of the old one is " + *upgraded);
  impl->directory.keep_reserve();
  impl->wants_reserve = !impl->directory.has_reserve();
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(impl)));
}

Result<core::Tables> SqliteStore::load() {
  std::vector<BadRow> bad;
  auto tables = read_tables(x_impl->connection, bad);
  if (!tables || bad.empty()) return tables;
  for (const BadRow& row : bad) {
    x_impl->warnings.push_back(fmt::format("{} of {} {}: {}; the row was copied to the table quarantine", row.key,
                                           row.table, row.keep ? "is damaged" : "was left out", row.reason));
  }
  Connection& connection = x_impl->connection;
  Status moved = connection.execute("BEGIN IMMEDIATE");
  if (moved) moved = quarantine(connection, bad, tables->meta.last_now_ms);
  if (moved) moved = connection.execute("COMMIT");
  if (!moved) {
    // The start goes on without the rows; they are found again next time.
    connection.roll_back();
    x_impl->warnings.push_back("quarantine: " + moved.error().message);
  }
  return tables;
}

int SqliteStore::Impl::write(const core::Changes& changes) {
  int code = begin.run();
  if (code == kSqlOk) code = writer.write(connection, changes);
  if (code == kSqlOk) code = commit.run();
  if (code == kSqlOk) writer.committed(changes);
  return code;
}

Status SqliteStore::commit(const core::Changes& changes) {
  Impl& impl = *x_impl;
  if (impl.wants_reserve) {
    impl.directory.keep_reserve();
    impl.wants_reserve = !impl.directory.has_reserve();
  }
  int code = impl.write(changes);
  if (code == kSqlOk) return {};
  Error failed = impl.connection.error("commit", code);
  impl.connection.roll_back();
  if (!means_disk_full(code) || !impl.directory.release_reserve()) return failed;
  // Nothing of this transaction was spoken of: the same one is tried once more with the reserve's space.
  impl.wants_reserve = true;
  impl.warnings.push_back("the disk of the state directory is full: the reserve was used; free some space");
  code = impl.write(changes);
  if (code == kSqlOk) return {};
  failed = impl.connection.error("commit after the reserve was released", code);
  impl.connection.roll_back();
  return failed;
}

Result<std::vector<core::TimelineLine>> SqliteStore::timeline(const std::string& subject, std::uint64_t after,
                                                              std::uint32_t limit) {
  const std::string key = subject_key(subject);
  Statement& statement = key.empty() ? x_impl->lines : x_impl->lines_of_subject;
  key.empty() ? statement.start(after, limit) : statement.start(after, key, limit);
  std::vector<core::TimelineLine> lines;
  while (statement.next()) lines.push_back(read_line(statement));
  if (int code = statement.finish(); code != kSqlOk) return x_impl->connection.error("timeline", code);
  return lines;
}

std::unique_ptr<UsageReader> SqliteStore::usage_reader() {
  return read_usage_of(x_impl->directory.file("trainyard.db"));
}

bool SqliteStore::accepts_new_work() const {
  return x_impl->directory.accepts_new_work();
}

std::vector<std::string> SqliteStore::take_warnings() {
  return std::exchange(x_impl->warnings, {});
}

Status SqliteStore::backup(const std::string& path) {
  return x_impl->connection.copy_to(path);
}

}  // namespace trainyard::storage
