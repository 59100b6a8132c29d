using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux idt</c>.</summary>
internal sealed class LinuxIdtCommand() : LinuxListCommand<IdtEntry, LinuxGateRecord>(
    "idt",
    "Show where the interrupt gates of a Linux kernel lead.",
    "VECTOR TARGET SELECTOR TYPE DPL IST NOTE SYMBOL",
    LinuxJson.Default.LinuxListRecordLinuxGateRecord,
    new Example("hyperscope linux idt --kvmi unix:/run/vm.sock", "All that are present"))
{
    /// <inheritdoc/>
    protected override Task<IReadOnlyList<IdtEntry>> ReadAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) =>
        guest.IdtAsync(cancellation);

    /// <inheritdoc/>
    protected override LinuxGateRecord Record(IdtEntry gate) =>
        new(gate.Vector, Hex(gate.Target), gate.Symbol, $"0x{gate.Selector:x}", gate.Type, gate.Dpl, gate.Ist, gate.IsInKernelText);

    /// <inheritdoc/>
    protected override string[] Cells(IdtEntry gate) =>
    [
        $"{gate.Vector}", Hex(gate.Target), $"0x{gate.Selector:x}", gate.Type switch { 14 => "int", 15 => "trap", _ => $"{gate.Type}" }, $"{gate.Dpl}",
        $"{gate.Ist}", gate.IsInKernelText ? "-" : gate.IsEarly ? "early" : "ODD", gate.Symbol,
    ];
}
