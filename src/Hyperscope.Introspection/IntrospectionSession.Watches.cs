using System.Runtime.InteropServices;

namespace Hyperscope.Introspection;

// Watched bytes.
public sealed partial class IntrospectionSession
{
    internal KvmError SetWatches(in VmSetWatches command, ReadOnlySpan<byte> tail)
    {
        if (command.View != 0)
            return KvmError.InvalidArgument;
        AccessMap map = Vm.AccessMap;
        KvmError first = KvmError.None;
        bool grew = false;
        lock (map.WriterLock)
        {
            if (IsClosed)
                return KvmError.None; // an unhook ends watches after closing; none may follow
            foreach (ref readonly WatchEntry entry in MemoryMarshal.Cast<byte, WatchEntry>(tail[..command.TailSize]))
            {
                KvmError error = Apply(map, entry, ref grew);
                if (first == KvmError.None)
                    first = error;
            }
        }

        // Cached translations of a page go, and blocks of code that go on over a watched instruction are not found any more.
        if (grew)
            Vm.InvalidateTranslations();
        return first;
    }

    internal KvmError GetWatchInfo(out VmGetWatchInfoReply reply)
    {
        AccessMap map = Vm.AccessMap;
        reply = new VmGetWatchInfoReply((ulong)map.WatchedFrames, (ulong)map.WatchTableBytes, (ulong)WatchBudget.Limit,
            (ulong)Vm.Memory.PageTracker.Passed, (ulong)Vm.Memory.PageTracker.Asked);
        return KvmError.None;
    }

    private KvmError Apply(AccessMap map, in WatchEntry entry, ref bool grew)
    {
        if (!entry.IsWellFormed || entry.Gpa.Value > ulong.MaxValue - entry.Length)
            return KvmError.InvalidArgument;
        if (entry.Kinds != PageAccess.None && !IsMemory(entry.Gpa, entry.Length))
            return Dialect.MissingFrame;
        return map.TrySetWatch(entry.Gpa, entry.Length, entry.Kinds, ref grew) ? KvmError.None : KvmError.OutOfMemory;
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
