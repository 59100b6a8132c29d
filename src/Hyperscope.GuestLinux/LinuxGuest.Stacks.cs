namespace Hyperscope.GuestLinux;

public sealed partial class LinuxGuest
{
    /// <summary>The call stack of a vCPU that stands still, such as one that waits in an event.</summary>
    /// <param name="registers">Its general registers.</param>
    /// <param name="codeSelector">Its CS: in user mode there is nothing to follow.</param>
    /// <param name="cancellation">Ends the reading.</param>
    /// <remarks>Followed by the kernel's own unwind tables (ORC); where they do not help, return addresses that lie on the stack are added
    /// and marked as <see cref="FrameSource.Scanned"/>.</remarks>
    public Task<CallStack> StackAsync(KvmRegs registers, ushort codeSelector, CancellationToken cancellation = default) =>
        StackAsync(registers, codeSelector, OpenSymbols(), cancellation);

    /// <inheritdoc cref="StackAsync(KvmRegs, ushort, CancellationToken)"/>
    /// <param name="registers">Its general registers.</param>
    /// <param name="codeSelector">Its CS: in user mode there is nothing to follow.</param>
    /// <param name="symbols">Names for its frames, opened while it stood still.</param>
    /// <param name="cancellation">Ends the reading.</param>
    public async Task<CallStack> StackAsync(KvmRegs registers, ushort codeSelector, SymbolMap symbols, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(symbols);
        GuestReader reader = OpenMemory();
        var unwinder = new StackUnwinder(reader, new KernelCode(this, reader, symbols));
        return await unwinder.UnwindAsync(registers, (codeSelector & 3) == 3, cancellation).ConfigureAwait(false);
    }

    /// <summary>The call stack of a vCPU by its registers.</summary>
    public Task<CallStack> StackAsync(VcpuRegisters registers, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(registers);
        return StackAsync(registers.General, registers.System.Cs.Selector, cancellation);
    }
}
