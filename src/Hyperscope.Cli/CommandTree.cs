using System.CommandLine.Help;
using System.CommandLine.Invocation;
using Hyperscope.Cli.Commands;

namespace Hyperscope.Cli;

/// <summary>All commands. A new one is a file and a line here.</summary>
internal static class CommandTree
{
    private static readonly TimeSpan LeaveTime = TimeSpan.FromSeconds(10);

    /// <summary>Builds the tree.</summary>
    public static RootCommand Create(CliConsole console)
    {
        var root = new RootCommand("Watches and guards running VMs from outside.")
        {
            Noun("vm", "Run VMs and look at them.", new VmRunCommand(), new VmInfoCommand(), new VmCtlCommand()),
            Noun("events", "Events of a VM.", new EventsWatchCommand()),
            Noun("page-access", "Rights of guest pages.", new PageAccessSetCommand(), new PageAccessListCommand()),
            Noun("watch", "Bytes of guest memory that are watched.", new WatchSetCommand(), new WatchInfoCommand()),
            Noun("mem", "Guest memory.", new MemReadCommand(), new MemWriteCommand(), new MemDumpCommand()),
            Noun("vcpu", "Virtual processors.", new VcpuRegsCommand(), new VcpuPauseCommand(), new VcpuStepCommand()),
            Noun("linux", "A Linux guest, read from outside.", new LinuxInfoCommand(), new LinuxPsCommand(), new LinuxMapsCommand(),
                new LinuxFilesCommand(), new LinuxModulesCommand(), new LinuxSocketsCommand(), new LinuxSyscallsCommand(), new LinuxIdtCommand(),
                new LinuxBpfCommand(), new LinuxDmesgCommand(), new LinuxSymsCommand(), new LinuxEventsCommand(), new LinuxStackCommand(),
                new LinuxCoreCommand(),
                new LinuxIsfCommand()),
            Noun("guard", "Policies for a Linux guest.", new GuardRunCommand(), new GuardCheckCommand(), new GuardPlanCommand()),
            new ExecCommand(),
            new SelftestCommand(),
            new DoctorCommand(),
            new DemoCommand(),
        };
        foreach (CliCommand command in Walk(root).OfType<CliCommand>())
            command.Console = console;
        HelpOption help = root.Options.OfType<HelpOption>().Single();
        help.Action = new HelpWithExamples((HelpAction)help.Action!);
        return root;
    }

    /// <summary>All commands below <paramref name="root"/>.</summary>
    public static IEnumerable<Command> Walk(Command root) => root.Subcommands.SelectMany(static child => Walk(child).Prepend(child));

    /// <summary>Runs a command line.</summary>
    /// <param name="arguments">Without the program's name.</param>
    /// <param name="console">Where to write.</param>
    /// <param name="cancellation">What Ctrl-C does, for tests.</param>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    public static async Task<int> RunAsync(IReadOnlyList<string> arguments, CliConsole console, CancellationToken cancellation = default)
    {
        ParseResult parsed = Create(console).Parse(arguments);
        if (parsed.Action is ParseErrorAction)
            return Misused(console, parsed.CommandResult.Command, parsed.Errors.Select(static error => error.Message).Distinct());

        var configuration = new InvocationConfiguration
        {
            Output = console.Out,
            Error = console.Error,
            ProcessTerminationTimeout = LeaveTime, // Ctrl-C: time to unhook
            EnableDefaultExceptionHandler = false,
        };
        return await parsed.InvokeAsync(configuration, cancellation).ConfigureAwait(false);
    }

    /// <summary>Says what is wrong with a command line, and where to look.</summary>
    public static int Misused(CliConsole console, Command command, IEnumerable<string> errors)
    {
        foreach (string error in errors)
            console.Error.WriteLine($"hyperscope: {error}");
        console.Error.WriteLine($"Try: {PathOf(command)} --help");
        return ExitCode.BadUsage;
    }

    private static string PathOf(Command command) => command.Parents.OfType<Command>().FirstOrDefault() is { } parent
        ? $"{PathOf(parent)} {command.Name}"
        : "hyperscope";

    private static Command Noun(string name, string description, params Command[] verbs)
    {
        var noun = new Command(name, description);
        foreach (Command verb in verbs)
            noun.Subcommands.Add(verb);
        return noun;
    }

    // The library's help, at 80 columns, and the command's examples behind it.
    private sealed class HelpWithExamples(HelpAction help) : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            help.MaxWidth = CliConsole.DefaultWidth;
            int result = help.Invoke(parseResult);
            if (parseResult.CommandResult.Command is not CliCommand { Examples.Count: > 0 } command)
                return result;
            TextWriter output = parseResult.InvocationConfiguration.Output;
            output.WriteLine("Examples:");
            foreach (Example example in command.Examples)
            {
                output.WriteLine($"  # {example.Does}");
                output.WriteLine($"  {example.CommandLine}");
            }

            output.WriteLine();
            return result;
        }
    }
}
