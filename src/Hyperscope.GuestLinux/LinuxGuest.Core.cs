namespace Hyperscope.GuestLinux;

public sealed partial class LinuxGuest
{
    /// <summary>Writes all memory of the guest, and the registers of its vCPUs, as an ELF core that <c>crash</c>, <c>drgn</c> and <c>gdb</c>
    /// read.</summary>
    /// <param name="target">Written from front to back.</param>
    /// <param name="progress">Told how many bytes there are so far.</param>
    /// <param name="cancellation">Ends the writing.</param>
    /// <remarks>Memory is consistent only if nothing changes it meanwhile: pause the vCPUs, or call this while one waits in an event and the
    /// others are paused. It works in an event's handler of <see cref="IntrospectedVm.OnAsync{T}"/>.</remarks>
    public Task<CoreSummary> WriteCoreAsync(Stream target, IProgress<long>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(target);
        return new CoreWriter(this, target).WriteAsync(progress, cancellation);
    }

    /// <summary>Where the VM has memory.</summary>
    public async Task<IReadOnlyList<MemoryBlock>> MemoryBlocksAsync(CancellationToken cancellation = default) =>
        await new MemoryBlockFinder(Vm).FindAsync(cancellation).ConfigureAwait(false);
}
