using System.Runtime.InteropServices;

namespace Hyperscope.Introspection;

// The commands of the VM. They run on whichever thread holds the reader's role.
public sealed partial class IntrospectionSession
{
    internal KvmError GetVersion(out GetVersionReply reply)
    {
        bool hasViews = !Dialect.IsCore && Vm.Capabilities.HasFlag(VmCapabilities.Views);
        reply = new GetVersionReply(KvmiConstants.Version, new Features(
            Vm.Capabilities.HasFlag(VmCapabilities.SingleStep),
            viewFunction: hasViews && Vm.Capabilities.HasFlag(VmCapabilities.ViewFunction),
            hasViews));
        return KvmError.None;
    }

    internal KvmError CheckCommand(MessageId id)
    {
        // The reference counts the event id among the commands it knows.
        if (id != MessageId.Event && !CommandTable.TryGet(id, out _))
            return Dialect.UnknownIdInCheck;
        return Commands.Allows(id) ? KvmError.None : KvmError.NotPermitted;
    }

    internal KvmError CheckEvent(EventId id)
    {
        if (!EventCatalog.TryGet(id, out _))
            return Dialect.UnknownIdInCheck;
        return Events.Allows((int)id) ? KvmError.None : KvmError.NotPermitted;
    }

    internal KvmError GetInfo(out VmGetInfoReply reply)
    {
        reply = new VmGetInfoReply((uint)_vcpus.Length);
        return KvmError.None;
    }

    internal KvmError ControlEvents(EventId id, bool enable)
    {
        if (id is not (EventId.Unhook or EventId.CreateVcpu))
            return KvmError.InvalidArgument;
        if (!Events.Allows((int)id))
            return KvmError.NotPermitted;
        if (id == EventId.Unhook)
            Volatile.Write(ref _unhookEventEnabled, enable);
        return KvmError.None;
    }

    internal KvmError ReadPhysical(in VmReadPhysical command, ref ReplyData reply)
    {
        if (!command.IsInsideOnePage)
            return KvmError.InvalidArgument;
        if (!Vm.Memory.TryGetSlot(command.Gpa.Frame, out MemorySlot? slot) || slot.IsReadOnly)
            return KvmError.NotFound;
        return Vm.Memory.TryRead(command.Gpa, reply.Take(command.Size)) ? KvmError.None : KvmError.NotFound;
    }

    internal KvmError WritePhysical(in VmWritePhysical command, ReadOnlySpan<byte> data)
    {
        if (!command.IsInsideOnePage)
            return KvmError.InvalidArgument;
        return Vm.Memory.TryWrite(command.Gpa, data[..command.Size]) ? KvmError.None : KvmError.NotFound;
    }

    internal KvmError Pause(VcpuIndex index, bool wait)
    {
        if (!Events.Allows((int)EventId.PauseVcpu))
            return KvmError.NotPermitted;
        if (index.Value >= _vcpus.Length)
            return KvmError.InvalidArgument;
        IntrospectedVcpu vcpu = _vcpus[index.Value];
        if (Dialect.PausesOnlyStartedVcpus && !vcpu.IsAwaitingReply && !vcpu.Vcpu.IsInitialized)
            return KvmError.TryAgain;
        if (!vcpu.TryRequestPause())
            return KvmError.Busy;
        if (wait && !vcpu.IsOnOwnThread)
            vcpu.Vcpu.WaitUntilOutsideGuestMode();
        return KvmError.None;
    }

    internal KvmError ControlCleanup(bool enable)
    {
        CleansUp = enable;
        return KvmError.None;
    }

    internal KvmError GetMaxGfn(out VmGetMaxGfnReply reply)
    {
        reply = new VmGetMaxGfnReply(Vm.Memory.MaxGfn);
        return KvmError.None;
    }

    internal KvmError SetPageAccess(in VmSetPageAccess command, ReadOnlySpan<byte> tail) =>
        SetPageAccess(Vm.Views.Main, tail[..command.TailSize]);

    internal KvmError SetPageAccess(in VmSetViewPageAccess command, ReadOnlySpan<byte> tail) =>
        Vm.Views.Find(command.View) is { } view ? SetPageAccess(view, tail[..command.TailSize]) : KvmError.InvalidArgument;

    private KvmError SetPageAccess(View view, ReadOnlySpan<byte> tail)
    {
        ReadOnlySpan<PageAccessEntry> entries = MemoryMarshal.Cast<byte, PageAccessEntry>(tail);
        KvmError first = KvmError.None;
        bool isTighter = false;
        AccessMap map = view.AccessMap;
        lock (map.WriterLock)
        {
            if (IsClosed)
                return KvmError.None; // an unhook lifts restrictions after closing; none may follow
            if (view.IsDestroyed)
                return KvmError.InvalidArgument;
            MemorySlot? slot = null;
            foreach (ref readonly PageAccessEntry entry in entries)
            {
                KvmError error = Apply(map, entry, ref slot, ref isTighter);
                if (first == KvmError.None)
                    first = error;
            }
        }

        if (isTighter)
            Vm.InvalidateTranslations();
        return first;
    }

    private KvmError Apply(AccessMap map, in PageAccessEntry entry, ref MemorySlot? slot, ref bool isTighter)
    {
        if (!entry.IsWellFormed)
            return KvmError.InvalidArgument;
        Gfn gfn = entry.Gpa.Frame;
        if ((slot is null || !slot.Contains(gfn)) && !Vm.Memory.TryGetSlot(gfn, out slot))
            return entry.Visible ? Dialect.MissingFrame : KvmError.None;
        try
        {
            PageAccess before = map.Set(gfn, entry.Access);
            isTighter |= (before & ~entry.Access) != 0;
            if (Dialect.PageRightsEndWatches && (entry.Access & PageAccess.Write) != 0)
                EndWatches(map, gfn);
            return KvmError.None;
        }
        catch (OutOfMemoryException)
        {
            return KvmError.OutOfMemory;
        }
    }
}
