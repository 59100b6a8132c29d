namespace Hyperscope.GuestLinux.Tests;

/// <summary>The types that the views need, small.</summary>
internal sealed class SyntheticTypes
{
    public const int Slots = 8; // of a node of an XArray; the kernel has 64

    private readonly BtfBuilder _builder = new();

    public SyntheticTypes()
    {
        BtfBuilder b = _builder;
        int list = b.Struct("list_head", 16, ("next", b.Void, 0), ("prev", b.Void, 8));
        int node = b.Struct("hlist_node", 16, ("next", b.Void, 0), ("pprev", b.Void, 8));
        int first = b.Struct("hlist_head", 8, ("first", b.Void, 0));
        int xarray = b.Struct("xarray", 16, ("xa_flags", b.Int32, 4), ("xa_head", b.Void, 8));
        b.Struct("xa_node", 16 + 8 * Slots, ("shift", b.Int8, 0), ("slots", b.Array(b.Void, Slots), 16));
        b.Struct("rb_node", 24, ("__rb_parent_color", b.Int64, 0), ("rb_right", b.Void, 8), ("rb_left", b.Void, 16));
        b.Struct("maple_tree", 16, ("ma_flags", b.Int32, 0), ("ma_root", b.Void, 8));
        b.Struct("maple_range_64", 256, ("parent", b.Void, 0), ("pivot", b.Array(b.Int64, 15), 8), ("slot", b.Array(b.Void, 16), 128));
        b.Struct("maple_arange_64", 256, ("parent", b.Void, 0), ("pivot", b.Array(b.Int64, 9), 8), ("slot", b.Array(b.Void, 10), 80));
        int idr = b.Struct("idr", 24, ("idr_rt", xarray, 0), ("idr_base", b.Int32, 16));
        int common = b.Struct("ns_common", 16, ("stashed", b.Int64, 0), ("inum", b.Int32, 8));
        foreach (string space in new[] { "mnt_namespace", "net", "uts_namespace", "ipc_namespace", "user_namespace", "cgroup_namespace" })
            b.Struct(space, 32, ("count", b.Int64, 0), ("ns", common, 8));
        b.Struct("pid_namespace", 64, ("idr", idr, 0), ("ns", common, 32));
        b.Struct("pid", 128, ("count", b.Int32, 0), ("tasks", b.Array(first, 4), 16), ("numbers", b.Int64, 64));
        int kuid = b.Struct("kuid", 4, ("val", b.Int32, 0));
        b.Struct("cred", 64, ("usage", b.Int32, 0), ("uid", kuid, 4), ("gid", kuid, 8), ("euid", kuid, 20), ("egid", kuid, 24), ("cap_effective", b.Int64, 32), ("user_ns", b.Void, 48));
        b.Struct("nsproxy", 64, ("count", b.Int32, 0), ("uts_ns", b.Void, 8), ("ipc_ns", b.Void, 16), ("mnt_ns", b.Void, 24), ("pid_ns_for_children", b.Void, 32), ("net_ns", b.Void, 40), ("cgroup_ns", b.Void, 48));
        b.Struct("signal_struct", 64, ("nr_threads", b.Int32, 8), ("thread_head", list, 16));
        b.Struct("task_struct", 512, ("__state", b.Int32, 0), ("flags", b.Int32, 4), ("exit_state", b.Int32, 8), ("tasks", list, 16), ("mm", b.Void, 32), ("pid", b.Int32, 40), ("tgid", b.Int32, 44),
            ("real_parent", b.Void, 48), ("group_leader", b.Void, 56), ("thread_pid", b.Void, 64), ("pid_links", b.Array(node, 4), 72), ("thread_node", list, 136), ("start_boottime", b.Int64, 152),
            ("cred", b.Void, 160), ("comm", b.Array(b.Int8, 16), 168), ("files", b.Void, 184), ("nsproxy", b.Void, 192), ("signal", b.Void, 200));
        b.Function("do_it", b.Int32, ("what", b.Void));
    }

    public byte[] Build() => _builder.Build();
}
