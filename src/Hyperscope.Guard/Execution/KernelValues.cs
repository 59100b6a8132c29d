using System.Text;

namespace Hyperscope.Guard;

/// <summary>Reads single values of the kernel: one round trip each where the address lies in the direct map, as nearly all do.</summary>
internal sealed class KernelValues(IntrospectedVm vm, LinuxGuest guest)
{
    private ulong? _currentTask;

    public async ValueTask<byte[]> ReadAsync(Gva gva, int length, CancellationToken cancellation)
    {
        byte[] bytes = new byte[length];
        int read = guest.Layout.PhysicalOf(gva) is { } gpa
            ? await vm.TryReadPhysicalAsync(gpa, bytes, cancellation).ConfigureAwait(false)
            : await guest.OpenMemory().TryReadAsync(gva, bytes, cancellation).ConfigureAwait(false);
        return read == length ? bytes : throw new LinuxGuestException($"there is no memory at {gva}");
    }

    public async ValueTask<ulong> ReadUInt64Async(Gva gva, CancellationToken cancellation) =>
        BinaryPrimitives.ReadUInt64LittleEndian(await ReadAsync(gva, 8, cancellation).ConfigureAwait(false));

    public async ValueTask<Gva> ReadPointerAsync(Gva gva, CancellationToken cancellation) =>
        new(await ReadUInt64Async(gva, cancellation).ConfigureAwait(false));

    /// <summary>Reads a string. Most are short and end on the page they start on, so that much is read first.</summary>
    public async ValueTask<string> ReadStringAsync(Gva gva, int maximum, CancellationToken cancellation)
    {
        int length = Math.Min(128, Gfn.PageSize - gva.PageOffset);
        byte[] first = await ReadAsync(gva, length, cancellation).ConfigureAwait(false);
        int end = Array.IndexOf(first, (byte)0);
        return end >= 0
            ? Encoding.Latin1.GetString(first, 0, end)
            : await guest.OpenMemory().ReadCStringAsync(gva, maximum, cancellation).ConfigureAwait(false);
    }

    public async ValueTask<Gva> CurrentTaskAsync(Gva gsBase, CancellationToken cancellation)
    {
        _currentTask ??= guest.Symbols.TryAddressOf("current_task", out Gva direct)
            ? direct.Value
            : guest.Symbols.AddressOf("pcpu_hot").Value + (ulong)guest.Btf.StructOf("pcpu_hot").Offset("current_task");
        return await ReadPointerAsync(gsBase + _currentTask.Value, cancellation).ConfigureAwait(false);
    }
}
