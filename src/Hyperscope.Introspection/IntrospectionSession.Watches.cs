using System.Runtime.InteropServices;

namespace Hyperscope.Introspection;

// Watched bytes.
public sealed partial class IntrospectionSession
{
    internal KvmError SetWatches(in VmSetWatches command, ReadOnlySpan<byte> tail) =>
        ChangeWatches<WatchEntry>(command.View, tail[..command.TailSize], Apply);

    internal KvmError SetWriteBitmap(in VmSetWriteBitmap command, ReadOnlySpan<byte> tail) =>
        ChangeWatches<WriteBitmapEntry>(command.View, tail[..command.TailSize], Apply);

    internal KvmError GetWatchInfo(out VmGetWatchInfoReply reply)
    {
        long frames = 0;
        foreach (View view in Vm.Views.ToArray())
            frames += view.AccessMap.WatchedFrames;
        reply = new VmGetWatchInfoReply((ulong)frames, (ulong)Vm.Views.Watches.Used, (ulong)WatchBudget.Limit,
            (ulong)Vm.Memory.PageTracker.Passed, (ulong)Vm.Memory.PageTracker.Asked);
        return KvmError.None;
    }

    private delegate KvmError WatchChange<T>(AccessMap map, in T entry, ref bool grew);

    private KvmError ChangeWatches<T>(ushort index, ReadOnlySpan<byte> tail, WatchChange<T> change)
        where T : unmanaged
    {
        if (Vm.Views.Find(index) is not { } view)
            return KvmError.InvalidArgument;
        AccessMap map = view.AccessMap;
        KvmError first = KvmError.None;
        bool grew = false;
        lock (map.WriterLock)
        {
            if (IsClosed)
                return KvmError.None; // an unhook ends watches after closing; none may follow
            if (view.IsDestroyed)
                return KvmError.InvalidArgument;
            foreach (ref readonly T entry in MemoryMarshal.Cast<byte, T>(tail))
            {
                KvmError error = change(map, entry, ref grew);
                if (first == KvmError.None)
                    first = error;
            }
        }

        // Cached translations of a page go, and blocks of code that go on over a watched instruction are not found any more.
        if (grew)
            Vm.InvalidateTranslations();
        return first;
    }

    private KvmError Apply(AccessMap map, in WatchEntry entry, ref bool grew)
    {
        if (!entry.IsWellFormed || entry.Gpa.Value > ulong.MaxValue - entry.Length)
            return KvmError.InvalidArgument;
        if (entry.Kinds != PageAccess.None && !IsMemory(entry.Gpa, entry.Length))
            return Dialect.MissingFrame;
        return map.TrySetWatch(entry.Gpa, entry.Length, entry.Kinds, ref grew) ? KvmError.None : KvmError.OutOfMemory;
    }

    private KvmError Apply(AccessMap map, in WriteBitmapEntry entry, ref bool grew)
    {
        const int Piece = 128;
        if (!entry.IsWellFormed)
            return KvmError.InvalidArgument;
        Gpa page = entry.Gpa.Frame.Address;
        if (!IsMemory(page, Gfn.PageSize))
            return Dialect.MissingFrame;

        // Room for the whole page first, so that nothing can fail half way.
        if (!map.TrySetWatch(page, Gfn.PageSize, entry.Writable == uint.MaxValue ? PageAccess.None : PageAccess.Write, ref grew))
            return KvmError.OutOfMemory;
        for (int piece = 0; piece < 32; piece++)
        {
            if ((entry.Writable & (1u << piece)) != 0)
                _ = map.TrySetWatch(page + (ulong)(piece * Piece), Piece, PageAccess.None, ref grew);
        }

        _ = map.Set(entry.Gpa.Frame, map[entry.Gpa.Frame] | PageAccess.Write);
        return KvmError.None;
    }

    private static void EndWatches(AccessMap map, Gfn gfn)
    {
        bool grew = false;
        _ = map.Denied(gfn.Value, out WatchedBytes? watched);
        if (watched is not null)
            _ = map.TrySetWatch(gfn.Address, Gfn.PageSize, PageAccess.None, ref grew);
    }

    private bool IsMemory(Gpa gpa, ulong length)
    {
        ulong end = (gpa.Value + length - 1) >> Gfn.PageShift;
        for (ulong gfn = gpa.Frame.Value; gfn <= end;)
        {
            if (!Vm.Memory.TryGetSlot(new Gfn(gfn), out MemorySlot? slot))
                return false;
            gfn = slot.End.Value;
        }

        return true;
    }
}
