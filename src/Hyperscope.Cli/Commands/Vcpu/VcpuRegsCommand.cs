using Hyperscope.Cli.Output;

namespace Hyperscope.Cli.Commands;

/// <summary><c>vcpu regs</c>.</summary>
internal sealed class VcpuRegsCommand : ToolCommand
{
    private readonly Argument<int> _index = new("index")
    {
        Description = "Which vCPU",
        DefaultValueFactory = static _ => 0,
        CustomParser = Values.Index,
    };

    private readonly Option<uint[]> _msrs = new("--msr")
    {
        Description = "MSRs to show as well",
        HelpName = "list",
        CustomParser = Values.Msrs,
    };

    /// <summary>Adds its arguments.</summary>
    public VcpuRegsCommand()
        : base(
            "regs",
            "Show the registers of a vCPU.",
            new("hyperscope vcpu regs --kvmi unix:/run/vm.sock 0", "All registers of vCPU 0"),
            new("hyperscope vcpu regs --kvmi unix:/run/vm.sock 1 --msr 0xc0000082 --json", "With LSTAR, for a program"))
    {
        Arguments.Add(_index);
        Options.Add(_msrs);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(IntrospectedVm vm, ParseResult parsed, CancellationToken cancellation)
    {
        int index = parsed.GetValue(_index);
        uint[] msrs = parsed.GetValue(_msrs) ?? [];
        VcpuRegisters registers = await vm.Vcpu(index).GetRegistersAsync(msrs, cancellation).ConfigureAwait(false);
        Write(Console, IsJson(parsed), index, registers);
        return ExitCode.Done;
    }

    /// <summary>Prints registers.</summary>
    internal static void Write(CliConsole console, bool json, int index, VcpuRegisters registers)
    {
        Dictionary<string, string> general = RegisterText.General(registers.General);
        Dictionary<string, string> system = RegisterText.System(registers.System);
        Dictionary<string, string> msrs = [];
        foreach (KvmMsrEntry entry in registers.Msrs.Span)
            msrs[$"0x{entry.Index:x}"] = RegisterText.Hex(entry.Data);
        if (json)
        {
            console.WriteJson(new RegistersRecord(index, (int)registers.Mode * 8, general, system, msrs), CliJson.Default.RegistersRecord);
            return;
        }

        console.WriteTable(
            ["", "", "", "", "", ""],
            general.Chunk(3).Select(static row => (string[])[.. row.SelectMany(static pair => (string[])[pair.Key, pair.Value])]));
        console.WriteTable(
            ["register", "value"],
            system.Concat(msrs.Select(static pair => KeyValuePair.Create($"msr {pair.Key}", pair.Value)))
                .Select(static pair => (string[])[pair.Key, pair.Value]));
    }
}
