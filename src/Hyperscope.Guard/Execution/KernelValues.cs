using System.Text;

namespace Hyperscope.Guard;

/// <summary>Reads single values of the kernel: one round trip each where the address lies in the direct map, as nearly all do.</summary>
internal sealed class KernelValues(IntrospectedVm vm, LinuxGuest guest)
{
    private readonly Lazy<ulong> _currentTask = new(() => guest.CurrentTaskOffset);

    public async ValueTask<byte[]> ReadAsync(Gva gva, int length, CancellationToken cancellation)
    {
        byte[] bytes = new byte[length];
        int read = guest.Layout.PhysicalOf(gva) is { } gpa
            ? await vm.TryReadPhysicalAsync(gpa, bytes, cancellation).ConfigureAwait(false)
            : await guest.OpenMemory().TryReadAsync(gva, bytes, cancellation).ConfigureAwait(false);
        return read == length ? bytes : throw new LinuxGuestException($"there is no memory at {gva}");
    }

    /// <summary>Reads within a page without awaiting anything, in a handler of <see cref="IntrospectedVm.On{T}"/>.</summary>
    /// <returns>Null where that takes more than one round trip.</returns>
    public byte[]? Read(Gva gva, int length)
    {
        if (guest.Layout.PhysicalOf(gva) is not { } gpa || gpa.PageOffset + length > Gfn.PageSize)
            return null;
        try
        {
            return vm.Send(new VmReadPhysical(gpa, (ushort)length));
        }
        catch (KvmiException)
        {
            return null;
        }
    }

    /// <inheritdoc cref="Read"/>
    public Gva? ReadPointer(Gva gva) => Read(gva, 8) is { } bytes ? new Gva(BinaryPrimitives.ReadUInt64LittleEndian(bytes)) : null;

    /// <summary>Reads a short string; null as well if it is long.</summary>
    /// <inheritdoc cref="Read"/>
    public string? ReadString(Gva gva) => Read(gva, FirstPart(gva)) is { } bytes ? EndedString(bytes) : null;

    public async ValueTask<ulong> ReadUInt64Async(Gva gva, CancellationToken cancellation) =>
        BinaryPrimitives.ReadUInt64LittleEndian(await ReadAsync(gva, 8, cancellation).ConfigureAwait(false));

    public async ValueTask<Gva> ReadPointerAsync(Gva gva, CancellationToken cancellation) =>
        new(await ReadUInt64Async(gva, cancellation).ConfigureAwait(false));

    /// <summary>Reads a string. Most are short and end on the page they start on, so that much is read first.</summary>
    public async ValueTask<string> ReadStringAsync(Gva gva, int maximum, CancellationToken cancellation)
    {
        byte[] first = await ReadAsync(gva, FirstPart(gva), cancellation).ConfigureAwait(false);
        return EndedString(first)
            ?? await guest.OpenMemory().ReadCStringAsync(gva, maximum, cancellation).ConfigureAwait(false);
    }

    public ValueTask<Gva> CurrentTaskAsync(Gva gsBase, CancellationToken cancellation) => ReadPointerAsync(gsBase + _currentTask.Value, cancellation);

    private static int FirstPart(Gva gva) => Math.Min(128, Gfn.PageSize - gva.PageOffset);

    private static string? EndedString(byte[] bytes) =>
        Array.IndexOf(bytes, (byte)0) is >= 0 and int end ? Encoding.Latin1.GetString(bytes, 0, end) : null;
}
