using Hyperscope.X64.Execution;

namespace Hyperscope.X64;

/// <summary>Reset, INIT and start-up of secondary processors (SDM vol. 3, "Processor Management and Initialization").</summary>
public sealed unsafe partial class SoftwareVcpu
{
    private volatile bool _isInitialized, _initPosted;
    private volatile int _startupVector = -1;

    /// <inheritdoc/>
    public bool IsInitialized => _isInitialized;

    /// <summary>Lets a secondary processor run from the registers it has, without INIT and SIPI. Any thread.</summary>
    public void Start()
    {
        _isInitialized = true;
        Interrupt();
    }

    /// <summary>INIT signal. Any thread. A secondary processor then waits for a start-up signal.</summary>
    public void PostInit()
    {
        _startupVector = -1;
        _initPosted = true;
        Interrupt();
    }

    /// <summary>Start-up signal: execution begins at <paramref name="vector"/> * 4096 in real mode. Any thread; ignored unless waited for.</summary>
    public void PostStartup(byte vector)
    {
        if (_isInitialized && !_initPosted)
            return;
        _startupVector = vector;
        Interrupt();
    }

    /// <summary>Puts every register into its state after power-up: execution begins at F000:FFF0. On the vCPU's thread, or before it runs.</summary>
    /// <remarks>Only the first processor is ready to run afterwards; others wait for <see cref="PostStartup"/> or <see cref="Start"/>.</remarks>
    public void Reset()
    {
        ResetRegisters();
        _c->Cr0 = Cr0.Cd | Cr0.Nw | Cr0.Et;
        _c->Xcr0 = XsaveArea.X87;
        ResetVectorState();
        ResetMsrs();
        _isInitialized = Index.Value == 0;
        _initPosted = false;
        _startupVector = -1;
        FlushTranslations();
    }

    private void ResetRegisters()
    {
        for (int register = 0; register < CpuState.GeneralRegisters; register++)
            _c->R[register] = 0;
        _c->R[2] = Model.Signature;
        _c->Cr0 = (_c->Cr0 & (Cr0.Cd | Cr0.Nw)) | Cr0.Et;
        _c->Cr2 = _c->Cr3 = _c->Cr4 = _c->Efer = 0;
        if (Interrupts is null)
            _c->Cr8 = 0;
        for (SegmentIndex index = SegmentIndex.Es; index < SegmentIndex.None; index++)
            SetSegment(index, RealSegment(0, 0, 0xFFFF, isCode: false));
        _c->Ldtr = new Segment { Limit = 0xFFFF, Type = SystemType.Ldt, Present = true };
        _c->Tr = new Segment { Limit = 0xFFFF, Type = SystemType.Tss32Busy, Present = true };
        _c->Gdtr = _c->Idtr = new TableRegister { Limit = 0xFFFF };
        for (int register = 0; register < 4; register++)
            _c->Dr[register] = 0;
        _c->Dr[6] = Dr6.Fixed;
        _c->Dr[7] = Dr7.Fixed;
        UpdateBreakpoints();
        _c->InterruptShadow = 0;
        _isHalted = _isShutDown = _isNmiBlocked = _mustRunAlone = _mustRunExclusive = _hasToolRegisters = false;
        ForgetIgnoredX87Error();
        _delivery = null;
        _injected = null;
        ForgetApprovals();
        Segment code = RealSegment(0xF000, 0, 0xFFFF, isCode: true);
        code.Base = 0xFFFF_0000;
        SetCode(code, 0);
        _c->Rip = 0xFFF0;
        SetFlags(Rflags.Fixed);
        FlushTranslations();
    }

    /// <summary>Takes posted INIT and start-up signals. Own thread, outside guest mode.</summary>
    private void TakeStartup()
    {
        if (_initPosted)
        {
            _initPosted = false;
            Accelerator?.Fetch(AcceleratorState.Debug);
            ResetRegisters();
            _isInitialized = Index.Value == 0;
        }

        int vector = _startupVector;
        if (vector < 0)
            return;
        _startupVector = -1;
        if (_isInitialized)
            return;
        Segment code = RealSegment((ushort)(vector << 8), 0, 0xFFFF, isCode: true);
        SetCode(code, 0);
        _c->Rip = 0;
        _isInitialized = true;
    }
}
