using Hyperscope.Cli;

return await CommandTree.RunAsync(args, CliConsole.OfProcess());
