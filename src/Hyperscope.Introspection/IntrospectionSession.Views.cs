using System.Text;

namespace Hyperscope.Introspection;

// Views, frames that are given memory, and the memory file.
public sealed partial class IntrospectionSession
{
    private const int MaxAllocatedFrames = 256;

    // Addresses that devices and firmware have or may get: below 1 MiB, and the last 512 MiB below 4 GiB.
    private const ulong LowEnd = 0x100, HighStart = 0xE_0000, HighEnd = 0x10_0000, FrameEnd = 1UL << 28;

    private readonly Dictionary<ulong, MemorySlot> _allocated = []; // of whoever holds the reader's role

    /// <summary>Whether the back end can do what a command needs; if not, the log says so.</summary>
    internal bool Can(MessageId command, VmCapabilities capability)
    {
        bool can = Vm.Capabilities.HasFlag(capability);
        if (!can)
            _logger.CommandNotSupported(ToolName, command, capability);
        return can;
    }

    internal KvmError CreateView(out ViewNumber reply)
    {
        reply = default;
        if (!Can(MessageId.VmCreateView, VmCapabilities.Views))
            return KvmError.NotSupported;
        if (Vm.Views.TryCreate() is not { } view)
            return KvmError.OutOfMemory;
        reply = new ViewNumber(view.Index);
        return KvmError.None;
    }

    internal KvmError DestroyView(ushort index)
    {
        if (index == 0 || Vm.Views.Find(index) is not { } view)
            return KvmError.InvalidArgument;
        return Vm.Views.TryDestroy(view) ? KvmError.None : KvmError.Busy;
    }

    internal KvmError GetNextGfn(out VmGetMaxGfnReply reply)
    {
        Gfn next = Vm.Memory.MaxGfn;
        if (next.Value is >= HighStart and < HighEnd)
            next = new Gfn(HighEnd);
        reply = new VmGetMaxGfnReply(next);
        return next.Value < FrameEnd ? KvmError.None : KvmError.OutOfMemory;
    }

    internal KvmError AllocateGfn(Gfn gfn)
    {
        if (gfn.Value is < LowEnd or (>= HighStart and < HighEnd) or >= FrameEnd || Vm.Memory.TryGetSlot(gfn, out _))
            return KvmError.InvalidArgument;
        if (_allocated.Count == MaxAllocatedFrames)
            return KvmError.OutOfMemory;
        try
        {
            _allocated.Add(gfn.Value, Vm.Memory.AddSlot(gfn.Address, Gfn.PageSize));
            return KvmError.None;
        }
        catch (LinuxHost.LinuxException)
        {
            return KvmError.OutOfMemory;
        }
    }

    internal KvmError FreeGfn(Gfn gfn)
    {
        if (!_allocated.Remove(gfn.Value, out MemorySlot? slot))
            return KvmError.NotFound;
        Vm.Memory.RemoveSlot(slot);
        return KvmError.None;
    }

    internal KvmError QueryPhysical(Gfn gfn, out VmQueryPhysicalReply reply)
    {
        reply = default;
        if (!Vm.Memory.TryGetSlot(gfn, out MemorySlot? slot))
            return KvmError.NotFound;
        reply = new VmQueryPhysicalReply(slot.First, slot.Frames);
        return KvmError.None;
    }

    internal KvmError GetMemoryFile(ref ReplyData reply)
    {
        if (Vm.Memory.FilePath is not { } path)
            return KvmError.NotSupported;
        int size = Encoding.UTF8.GetByteCount(path);
        if (size > KvmiConstants.MaxReplyDataSize)
            return KvmError.NotSupported;
        Encoding.UTF8.GetBytes(path, reply.Take(size));
        return KvmError.None;
    }

    /// <summary>Makes memory plain again in every view. When no thread is inside any more.</summary>
    internal void UndoViews()
    {
        Vm.Views.Clear();
        Vm.InvalidateTranslations();
        foreach (MemorySlot slot in _allocated.Values)
            Vm.Memory.RemoveSlot(slot);
        _allocated.Clear();
    }
}
