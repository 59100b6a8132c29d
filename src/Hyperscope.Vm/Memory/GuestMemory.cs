using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Hyperscope.LinuxHost;

namespace Hyperscope.Vm;

/// <summary>The guest-physical address space: memory slots over one memory file, sorted and disjoint.</summary>
/// <remarks>
/// <para>An offset in the file is a guest-physical address, so another process can map the file and see memory where the guest does.</para>
/// <para><see cref="Slots"/> is an immutable snapshot, replaced whole. Threads other than a vCPU in guest mode use
/// <see cref="TryRead"/> and <see cref="TryWrite"/>, which hold off removal for the length of one copy. A vCPU in guest mode uses
/// <see cref="TryGetHostPage"/>; a slot is unmapped only after <see cref="TranslationsInvalid"/> returned, which a back end
/// answers by making every vCPU forget what it cached.</para>
/// </remarks>
public sealed class GuestMemory : IDisposable
{
    private readonly Lock _gate = new();
    private readonly string? _path;
    private SharedMemory? _file;
    private MemorySlot[] _slots = [];
    private bool _disposed;

    /// <summary>Makes an empty address space.</summary>
    /// <param name="path">Where the memory file is made, with the first slot; null: it has no name.</param>
    public GuestMemory(string? path = null) => _path = path;

    /// <summary>The path by which another process can open the memory file; null while there is no memory.</summary>
    public string? FilePath
    {
        get
        {
            lock (_gate)
                return _file?.Path;
        }
    }

    /// <summary>The slots in ascending order.</summary>
    public ReadOnlySpan<MemorySlot> Slots => Volatile.Read(ref _slots);

    /// <summary>Told of each slot that comes or goes, and asked before accesses to restricted frames.</summary>
    public PageTracker PageTracker { get; } = new();

    /// <summary>Called after a slot was taken out of <see cref="Slots"/> and before its memory goes away, and after one was added.
    /// Must return only when no vCPU holds a translation made before the call.</summary>
    public Action? TranslationsInvalid { get; set; }

    /// <summary>One past the highest frame of a writable slot; 0 without any (kvmi-abi.md, VM_GET_MAX_GFN).</summary>
    public Gfn MaxGfn
    {
        get
        {
            ulong end = 0;
            foreach (MemorySlot slot in Slots)
            {
                if (!slot.IsReadOnly)
                    end = Math.Max(end, slot.End.Value);
            }

            return new Gfn(end);
        }
    }

    /// <summary>Adds a slot of zeroed memory.</summary>
    /// <param name="gpa">First address, page-aligned.</param>
    /// <param name="bytes">Length, a multiple of 4096, not 0.</param>
    /// <param name="isReadOnly">Guest writes are dropped.</param>
    /// <returns>The slot; page trackers were told of it.</returns>
    /// <exception cref="ArgumentException">Unaligned, empty, beyond 52 bits, or overlapping another slot.</exception>
    public MemorySlot AddSlot(Gpa gpa, ulong bytes, bool isReadOnly = false)
    {
        if (gpa.PageOffset != 0 || bytes == 0 || (bytes & (Gfn.PageSize - 1)) != 0)
            throw new ArgumentException($"slot of {bytes} bytes at {gpa} is empty or not a whole number of pages");
        if (gpa.Value >= 1UL << 52 || bytes > (1UL << 52) - gpa.Value)
            throw new ArgumentException($"slot of {bytes} bytes at {gpa} ends above 52 address bits");
        var first = gpa.Frame;
        ulong frames = bytes >> Gfn.PageShift;
        MemorySlot slot;
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            foreach (MemorySlot other in _slots)
            {
                if (first.Value < other.End.Value && other.First.Value < first.Value + frames)
                    throw new ArgumentException($"slot of {bytes} bytes at {gpa} overlaps slot {other}");
            }

            _file ??= _path is null ? new SharedMemory("hyperscope-ram", 0) : SharedMemory.CreateFile(_path, 0);
            _file.Grow(gpa.Value + bytes);
            _file.Discard(gpa.Value, bytes);
            slot = new MemorySlot(first, frames, _file, isReadOnly);
            MemorySlot[] slots = [.. _slots, slot];
            Array.Sort(slots, static (left, right) => left.First.Value.CompareTo(right.First.Value));
            Volatile.Write(ref _slots, slots);
        }

        PageTracker.CreateSlot(slot);
        TranslationsInvalid?.Invoke();
        return slot;
    }

    /// <summary>Removes a slot; its contents are lost, restrictions on its addresses stay (kvmi-abi.md 5.2).</summary>
    /// <exception cref="ArgumentException">The slot is not part of this memory.</exception>
    public void RemoveSlot(MemorySlot slot)
    {
        lock (_gate)
        {
            if (!_slots.Contains(slot))
                throw new ArgumentException($"slot {slot} is not part of this memory");
            Volatile.Write(ref _slots, [.. _slots.Where(other => other != slot)]);
        }

        PageTracker.FlushSlot(slot);
        TranslationsInvalid?.Invoke();
        slot.Release();
        lock (_gate)
        {
            // Unless a new slot is there already, which must not lose its contents; it was zeroed when it was added.
            if (!_disposed && !IsTaken(slot.First.Value, slot.Frames))
                _file!.Discard(slot.First.Address.Value, slot.Frames << Gfn.PageShift);
        }
    }

    private bool IsTaken(ulong first, ulong frames)
    {
        foreach (MemorySlot other in _slots)
        {
            if (first < other.End.Value && other.First.Value < first + frames)
                return true;
        }

        return false;
    }

    /// <summary>Finds the slot of a frame.</summary>
    public bool TryGetSlot(Gfn gfn, [NotNullWhen(true)] out MemorySlot? slot)
    {
        foreach (MemorySlot candidate in Slots)
        {
            if (candidate.Contains(gfn))
            {
                slot = candidate;
                return true;
            }
        }

        slot = null;
        return false;
    }

    /// <summary>Host address of a frame's first byte, for a vCPU in guest mode only (see the remarks of the type).</summary>
    public bool TryGetHostPage(ulong gfn, out nint hva, out bool isReadOnly)
    {
        foreach (MemorySlot slot in Volatile.Read(ref _slots))
        {
            ulong offset = gfn - slot.First.Value;
            if (offset < slot.Frames)
            {
                hva = slot.HostAddress + (nint)(offset << Gfn.PageShift);
                isReadOnly = slot.IsReadOnly;
                return true;
            }
        }

        hva = 0;
        isReadOnly = false;
        return false;
    }

    /// <summary>Copies guest memory out, across page and slot borders. Restrictions do not apply.</summary>
    /// <returns>False, with nothing promised about <paramref name="destination"/>, if any byte has no memory behind it.</returns>
    public bool TryRead(Gpa gpa, Span<byte> destination)
    {
        lock (_gate)
        {
            while (!destination.IsEmpty)
            {
                Span<byte> run = Resolve(gpa, destination.Length, forWriting: false);
                if (run.IsEmpty)
                    return false;
                run.CopyTo(destination);
                destination = destination[run.Length..];
                gpa += (ulong)run.Length;
            }
        }

        return true;
    }

    /// <summary>Copies into guest memory, across page and slot borders; all or nothing. Restrictions do not apply.</summary>
    /// <returns>False, with nothing written, if any byte has no memory behind it or lies in a read-only slot.</returns>
    /// <remarks>The caller invalidates decoded code if the guest may execute these bytes; see <see cref="Written"/>.</remarks>
    public bool TryWrite(Gpa gpa, ReadOnlySpan<byte> source) => TryWriteCore(gpa, source, forWriting: true);

    /// <summary>As <see cref="TryWrite"/>, and into read-only slots too: for loaders.</summary>
    public bool TryLoad(Gpa gpa, ReadOnlySpan<byte> source) => TryWriteCore(gpa, source, forWriting: false);

    /// <summary>Called after memory was written from outside the guest, with the first frame and the number of frames.
    /// A back end that caches decoded code drops what it made from them.</summary>
    public Action<Gfn, ulong>? Written { get; set; }

    private bool TryWriteCore(Gpa gpa, ReadOnlySpan<byte> source, bool forWriting)
    {
        if (source.IsEmpty)
            return true;
        lock (_gate)
        {
            for (int done = 0; done < source.Length;)
            {
                int run = Resolve(gpa + (ulong)done, source.Length - done, forWriting).Length;
                if (run == 0)
                    return false;
                done += run;
            }

            for (int done = 0; done < source.Length;)
            {
                Span<byte> run = Resolve(gpa + (ulong)done, source.Length - done, forWriting);
                source.Slice(done, run.Length).CopyTo(run);
                done += run.Length;
            }
        }

        Gfn first = gpa.Frame;
        Written?.Invoke(first, (gpa + (ulong)(source.Length - 1)).Frame.Value - first.Value + 1);
        return true;
    }

    // Sound: the span lies inside one slot's mapping, and the caller holds _gate, so the slot is not released while it is used.
    private unsafe Span<byte> Resolve(Gpa gpa, int length, bool forWriting)
    {
        if (!TryGetSlot(gpa.Frame, out MemorySlot? slot) || (forWriting && slot.IsReadOnly))
            return default;
        ulong offset = gpa.Value - slot.First.Address.Value;
        ulong available = (slot.Frames << Gfn.PageShift) - offset;
        return new Span<byte>((byte*)slot.HostAddress + offset, (int)Math.Min((ulong)length, available));
    }

    /// <summary>Reads one unmanaged value; false if any byte has no memory behind it.</summary>
    public bool TryRead<T>(Gpa gpa, out T value)
        where T : unmanaged
    {
        value = default;
        return TryRead(gpa, MemoryMarshal.AsBytes(MemoryMarshal.CreateSpan(ref value, 1)));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_disposed)
                return;
            _disposed = true;
            foreach (MemorySlot slot in _slots)
                slot.Release();
            _slots = [];
            _file?.Dispose();
        }
    }
}
