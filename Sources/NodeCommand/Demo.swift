// `smallworld demo` belongs here: a `Command` like `NodeSubcommand.command`, added to `Command.all`,
// which is also what puts it into the help.
