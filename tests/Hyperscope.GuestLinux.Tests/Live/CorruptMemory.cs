using System.Buffers.Binary;
using Hyperscope.Vm;

namespace Hyperscope.GuestLinux.Tests;

/// <summary>A guest's memory as it was when each page was first read, with words of it replaced.</summary>
/// <remarks>Which words and by what depends on the seed and the page only.</remarks>
internal sealed class CorruptMemory(IPhysicalMemory guest) : IPhysicalMemory
{
    private readonly Dictionary<ulong, byte[]?> _pages = [];
    private int _seed, _words;
    private ulong _directMap, _memory;

    /// <summary>Pages that were read since the last change.</summary>
    public int Reads { get; private set; }

    /// <summary>Replaces some words of every page from now on.</summary>
    /// <param name="seed">Chooses which and by what.</param>
    /// <param name="words">At most this many of a page's 512; 0 for none.</param>
    /// <param name="directMap">Where pointers that look right may lead to,</param>
    /// <param name="memory">and how much of it there is, in bytes.</param>
    public void Corrupt(int seed, int words, Gva directMap, ulong memory)
    {
        (_seed, _words, _directMap, _memory) = (seed, words, directMap.Value, memory);
        Reads = 0;
    }

    public async ValueTask<int> TryReadAsync(Gpa gpa, Memory<byte> buffer, CancellationToken cancellation)
    {
        int done = 0;
        while (done < buffer.Length)
        {
            Gpa at = gpa + (ulong)done;
            int offset = (int)(at.Value & (Gfn.PageSize - 1)), length = Math.Min(buffer.Length - done, Gfn.PageSize - offset);
            if (await PageAsync(at.Value >> Gfn.PageShift, cancellation) is not { } page)
                break;
            Changed(at.Value >> Gfn.PageShift, page).AsSpan(offset, length).CopyTo(buffer.Span[done..]);
            done += length;
            Reads++;
        }

        return done;
    }

    private async ValueTask<byte[]?> PageAsync(ulong frame, CancellationToken cancellation)
    {
        lock (_pages)
        {
            if (_pages.TryGetValue(frame, out byte[]? known))
                return known;
        }

        byte[] page = new byte[Gfn.PageSize];
        bool isThere = await guest.TryReadAsync(new Gfn(frame).Address, page, cancellation) == page.Length;
        lock (_pages)
        {
            _pages.TryAdd(frame, isThere ? page : null);
            return _pages[frame];
        }
    }

    private byte[] Changed(ulong frame, byte[] page)
    {
        if (_words == 0)
            return page;
        byte[] changed = [.. page];
        var random = new Random(HashCode.Combine(_seed, frame));
        for (int count = random.Next(_words + 1); count > 0; count--)
        {
            Span<byte> word = changed.AsSpan(random.Next(Gfn.PageSize / 8) * 8, 8);
            BinaryPrimitives.WriteUInt64LittleEndian(word, random.Next(7) switch
            {
                0 => 0,
                1 => (ulong)random.NextInt64(),
                2 => BinaryPrimitives.ReadUInt64LittleEndian(page.AsSpan(random.Next(Gfn.PageSize / 8) * 8)), // as beside it
                3 => _directMap + (ulong)random.NextInt64((long)_memory) / 8 * 8,
                4 => _directMap + frame * Gfn.PageSize + (ulong)random.Next(Gfn.PageSize) / 8 * 8, // into the same page, if it is of the direct map
                5 => ulong.MaxValue >> random.Next(64),
                _ => BinaryPrimitives.ReadUInt64LittleEndian(word) ^ 1UL << random.Next(64),
            });
        }

        return changed;
    }
}
