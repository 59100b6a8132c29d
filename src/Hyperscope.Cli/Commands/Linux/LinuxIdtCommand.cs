using Hyperscope.Cli.Output;
using Hyperscope.GuestLinux;

namespace Hyperscope.Cli.Commands;

/// <summary><c>linux idt</c>.</summary>
internal sealed class LinuxIdtCommand() : LinuxCommand(
    "idt",
    "Show where the interrupt gates of a Linux kernel lead.",
    new Example("hyperscope linux idt --kvmi unix:/run/vm.sock", "All that are present"))
{
    /// <inheritdoc/>
    protected override async Task<int> RunAsync(LinuxGuest guest, ParseResult parsed, CancellationToken cancellation) => Write(
        parsed, await guest.IdtAsync(cancellation).ConfigureAwait(false),
        static gate => new LinuxGateRecord(
            gate.Vector, Hex(gate.Target), gate.Symbol, $"0x{gate.Selector:x}", gate.Type, gate.Dpl, gate.Ist, gate.IsInKernelText),
        LinuxJson.Default.LinuxListRecordLinuxGateRecord, "VECTOR TARGET SELECTOR TYPE DPL IST NOTE SYMBOL",
        static gate =>
        [
            $"{gate.Vector}", Hex(gate.Target), $"0x{gate.Selector:x}", gate.Type switch { 14 => "int", 15 => "trap", _ => $"{gate.Type}" }, $"{gate.Dpl}",
            $"{gate.Ist}", gate.IsInKernelText ? "-" : gate.IsEarly ? "early" : "ODD", gate.Symbol,
        ]);
}
