namespace Hyperscope.Introspection;

// Views of a vCPU.
internal sealed partial class IntrospectedVcpu
{
    private const ulong FrameLimit = 1UL << 40;

    public KvmError SwitchView(ushort index)
    {
        if (!session.Can(MessageId.VcpuSwitchView, VmCapabilities.Views))
            return KvmError.NotSupported;
        return session.Vm.Views.Find(index) is { } view && interception.TrySwitchView(vcpu, view) ? KvmError.None : KvmError.InvalidArgument;
    }

    public KvmError GetView(out ViewNumber reply)
    {
        reply = new ViewNumber(vcpu.View.Index);
        return KvmError.None;
    }

    public KvmError ControlView(ushort index, bool isVisible)
    {
        if (!session.Can(MessageId.VcpuControlView, VmCapabilities.ViewFunction))
            return KvmError.NotSupported;
        if (session.Vm.Views.Find(index) is not { } view)
            return KvmError.InvalidArgument;
        interception.ShowView(vcpu, view, isVisible);
        return KvmError.None;
    }

    public KvmError ChangeGfn(in VcpuChangeGfn command)
    {
        if (!session.Can(MessageId.VcpuChangeGfn, VmCapabilities.Views))
            return KvmError.NotSupported;
        View? view = command.View.View == VcpuChangeGfn.CurrentView ? vcpu.View : session.Vm.Views.Find(command.View.View);
        Gfn backing = command.Backing.Value == ulong.MaxValue ? command.Gfn : command.Backing;
        if (view is null || command.Gfn.Value >= FrameLimit || backing.Value >= FrameLimit)
            return KvmError.InvalidArgument;
        if (backing != command.Gfn && !session.Vm.Memory.TryGetSlot(backing, out _))
            return KvmError.NotFound;
        lock (view.AccessMap.WriterLock)
        {
            if (session.IsClosed)
                return KvmError.None;
            if (view.IsDestroyed)
                return KvmError.InvalidArgument;
            if (!view.TryRemap(command.Gfn, backing))
                return KvmError.OutOfMemory;
        }

        session.Vm.InvalidateTranslations();
        return KvmError.None;
    }
}
