// The database's schema as a list of migrations, applied in order by PRAGMA user_version, each in one transaction: a
// kill in the middle leaves the version before it. A database of a newer schema is refused, never touched.
#pragma once

#include <span>
#include <string>

#include "common/result.h"
#include "storage/sqlite.h"

namespace trainyard::storage {

// Brings the schema from version i to i + 1, where i is its place in the list. Never edited once released.
using Migration = const char*;

std::span<const Migration> migrations();

// Applies what is missing. Before an existing database is changed, it is copied to
// `backup_prefix` + "<old version>.db". Returns the file name of that copy, or empty.
Result<std::string> migrate(Connection& connection, std::span<const Migration> steps, const std::string& backup_prefix);

}  // namespace trainyard::storage
